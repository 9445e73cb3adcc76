"""Drawing primitives of the sample set: lit bodies, leaves and florets.

A body has a curved spine, a half-width along it and a round cross-section. Its outline, normals and surface coordinates
therefore have closed formulas, so edges and shadows are anti-aliased by distance, without supersampling.

u runs along the spine from -1 (stem) to 1 (blossom end); v runs across it, from -1 to 1 between the outlines.
Arrays are float32: (H, W) for fields, (3, H, W) for colours in [0, 1], because numpy is slow on a last axis of length 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.floating[Any]]  # always float32; numpy's stubs lose that type in arithmetic with Python floats
Colour = tuple[float, float, float]

SIZE = 224  # pixels, height and width of a picture
STEM_GREEN: Colour = (0.42, 0.56, 0.22)
WOODY: Colour = (0.52, 0.47, 0.26)
AMBIENT = 0.38  # share of the light on a surface that faces away from the lamp
NOISE_SIZE = 512  # a power of two: coordinates wrap with a mask
NOISE_GRAIN_PX = {"broad": 40, "middle": 12, "fine": 4, "grain": 1}
GOLDEN_ANGLE = 2.399963  # radians; successive turns by it cover a disc evenly
OUTLINE_SAMPLES = 512
OUTLINE_END = 1.25  # outlines are tabulated for u in [-1.25, 1.25], because soft edges extend beyond the body
SHADOWLESS_PX = 22  # shorter bodies lie on another body; their shadow would be invisible
SHADOW_STEP = 2  # shadows are soft: every second pixel is enough
OUTLINE_U = np.linspace(-OUTLINE_END, OUTLINE_END, OUTLINE_SAMPLES, dtype=np.float32)
SPINE_CENTRE = 1 / 3  # mean of u * u: a bent body stays centred on its pose
OUTLINE_FALL = 4.0  # slope of the half-width beyond the ends, which gives the distance there


@dataclass(frozen=True, slots=True)
class Pose:
    """Position, size and direction of a body.

    x, y: its centre, in pixels. reach: its half-length, in pixels. angle: of the stem-to-blossom axis, in radians.
    """

    x: float
    y: float
    reach: float
    angle: float

    def at(self, u: float, w: float = 0.0) -> tuple[float, float]:
        """Return the pixel position of a point u along the axis and w across it, both in units of reach."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.x + self.reach * (u * cos - w * sin), self.y + self.reach * (u * sin + w * cos)

    def part(self, u: float, w: float, reach: float, turn: float) -> Pose:
        """Return the pose of a part centred at (u, w), `reach` times as long, turned by `turn` radians."""
        x, y = self.at(u, w)
        return Pose(x, y, self.reach * reach, self.angle + turn)

    def sprout(self, u: float, w: float, reach: float, turn: float) -> Pose:
        """Return the pose of a part that starts at (u, w) and grows away from it in the direction `turn`."""
        start = self.part(u, w, reach, turn)
        x, y = start.at(1.0)
        return replace(start, x=x, y=y)


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a body. widths: half-width along u. slopes: its derivative. bend: of the spine. In units of half-length."""

    widths: Field
    slopes: Field
    bend: float = 0.0

    @property
    def girth(self) -> float:
        """The largest half-width."""
        return float(self.widths.max())


@dataclass(frozen=True, slots=True)
class Surface:
    """The part of the canvas that a body covers, seen from the body.

    facing: cosine between the normal and the light. depth: component of the normal towards the viewer. alpha: coverage.
    """

    window: tuple[slice, slice]
    u: Field
    v: Field
    facing: Field
    depth: Field
    alpha: Field


@dataclass(slots=True)
class Canvas:
    """A picture being painted: pixels (3, H, W) in [0, 1], a unit vector to the light, the offset of its noise."""

    pixels: Field
    light: tuple[float, float, float]
    offset: tuple[int, int]

    def noise(self, kind: str, window: tuple[slice, slice]) -> Field:
        """Return noise in about [-1, 1] for a window, of the grain size that `kind` names."""
        rows, columns = (
            slice(part.start + shift, part.stop + shift) for part, shift in zip(window, self.offset, strict=True)
        )
        return noise_bank()[kind][rows, columns]

    def noise_at(self, kind: str, a: Field, b: Field) -> Field:
        """Return noise at given coordinates (in noise pixels), so that it follows a surface."""
        row = (a + self.offset[0]).astype(np.intp) & (NOISE_SIZE - 1)
        column = (b + self.offset[1]).astype(np.intp) & (NOISE_SIZE - 1)
        return noise_bank()[kind].ravel().take(row * NOISE_SIZE + column)


@lru_cache(maxsize=1)
def noise_bank() -> dict[str, Field]:
    """Return square noise tiles by kind, in [-1.5, 1.5]. The bank is fixed: pictures differ by their offset into it."""
    rng = np.random.default_rng(20_240_501)
    bank: dict[str, Field] = {}
    for kind, grain_px in NOISE_GRAIN_PX.items():
        cells = NOISE_SIZE // grain_px
        coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
        tile = np.asarray(coarse.resize((NOISE_SIZE, NOISE_SIZE), Image.Resampling.BICUBIC), dtype=np.float32)
        bank[kind] = np.clip(tile / (2 * tile.std()), -1.5, 1.5)
    return bank


def outline(points: Sequence[float], *, bluntness: float = 2.0, bend: float = 0.0) -> Shape:
    """Return a shape through half-widths spread evenly from stem to blossom end, closed by rounded ends.

    bluntness: exponent of the ends; 2 closes like an ellipse, larger stays wide until close to the end.
    """
    return replace(_tabulate(tuple(points), bluntness), bend=bend)


@lru_cache(maxsize=256)
def _tabulate(points: tuple[float, ...], bluntness: float) -> Shape:
    u = OUTLINE_U.astype(np.float64)
    widths = np.interp(u, np.linspace(-1, 1, len(points)), points)
    window = np.hanning(OUTLINE_SAMPLES // (2 * len(points)) | 1)
    widths = np.convolve(widths, window / window.sum(), mode="same")
    closed = widths * np.sqrt(np.clip(1 - np.abs(u) ** bluntness, 0, 1))
    closed = np.where(np.abs(u) > 1, (1 - np.abs(u)) * OUTLINE_FALL, closed)
    slopes = np.clip(np.gradient(closed, u), -OUTLINE_FALL, OUTLINE_FALL)
    return Shape(closed.astype(np.float32), slopes.astype(np.float32))


def window_of(pose: Pose, shape: Shape, margin_px: float) -> tuple[slice, slice]:
    """Return the rows and columns of the canvas that a body can touch."""
    inside = slice(OUTLINE_SAMPLES // 10, -OUTLINE_SAMPLES // 10, 6)
    u, half = OUTLINE_U[inside], np.maximum(shape.widths[inside], 0)
    spine = shape.bend * (u * u - SPINE_CENTRE)
    across = np.stack((spine - half, spine + half))
    cos, sin = math.cos(pose.angle) * pose.reach, math.sin(pose.angle) * pose.reach
    x, y = pose.x + u * cos - across * sin, pose.y + u * sin + across * cos
    rows = _clipped(float(y.min()) - margin_px, float(y.max()) + margin_px)
    return rows, _clipped(float(x.min()) - margin_px, float(x.max()) + margin_px)


def oval_window(pose: Pose, squash: float, margin_px: float) -> tuple[slice, slice]:
    """Return the rows and columns of the canvas that an oval of half-axes reach and reach * squash can touch."""
    cos, sin = math.cos(pose.angle), math.sin(pose.angle)
    half_w = pose.reach * math.hypot(cos, sin * squash) + margin_px
    half_h = pose.reach * math.hypot(sin, cos * squash) + margin_px
    return _clipped(pose.y - half_h, pose.y + half_h), _clipped(pose.x - half_w, pose.x + half_w)


def body_surface(canvas: Canvas, pose: Pose, shape: Shape) -> Surface:
    """Return the part of the canvas that a body covers."""
    window = window_of(pose, shape, 2)
    x, y, width, slope = _spine(pose, shape, window)
    steep = 1 / np.sqrt(1 + slope * slope)
    alpha = np.clip((width - np.abs(y)) * (steep * pose.reach) + 0.5, 0, 1)
    v = np.clip(y / np.maximum(width, 1e-3), -1, 1)
    depth = np.sqrt(1 - v * v) * steep
    cos, sin = math.cos(pose.angle), math.sin(pose.angle)
    light_along, light_across = (
        canvas.light[0] * cos + canvas.light[1] * sin,
        canvas.light[1] * cos - canvas.light[0] * sin,
    )
    facing = (v * light_across - slope * light_along) * steep + depth * canvas.light[2]
    return Surface(window, x, v, facing, depth, alpha)


def _spine(pose: Pose, shape: Shape, window: tuple[slice, slice], step: int = 1) -> tuple[Field, Field, Field, Field]:
    """Return a window's coordinates along and across a bent spine, and the body's half-width and slope there."""
    x, y = local_coordinates(pose, window, step)
    y -= shape.bend * (x * x - SPINE_CENTRE)
    samples_per_u = OUTLINE_SAMPLES / (2 * OUTLINE_END)
    index = ((x + OUTLINE_END) * samples_per_u).astype(np.intp)
    return x, y, shape.widths.take(index, mode="clip"), shape.slopes.take(index, mode="clip")


def local_coordinates(pose: Pose, window: tuple[slice, slice], step: int = 1) -> tuple[Field, Field]:
    """Return every `step`-th pixel centre of a window in the pose's frame: along and across, in units of reach."""
    rows, columns = window
    dy = (np.arange(rows.start, rows.stop, step, dtype=np.float32)[:, None] - pose.y) / pose.reach
    dx = (np.arange(columns.start, columns.stop, step, dtype=np.float32)[None, :] - pose.x) / pose.reach
    cos, sin = math.cos(pose.angle), math.sin(pose.angle)
    return dx * cos + dy * sin, dy * cos - dx * sin


def paint_surface(
    canvas: Canvas, surface: Surface, albedo: Field | Colour, *, gloss: float = 0.1, relief: Field | None = None
) -> None:
    """Paint a surface under the canvas's light. relief: bumps of the surface, in pixels of height."""
    facing = surface.facing
    if relief is not None and min(relief.shape) > 1:
        along_y, along_x = np.gradient(relief)
        facing = facing - along_x * canvas.light[0] - along_y * canvas.light[1]
    shade = AMBIENT + (1 - AMBIENT) * np.clip(facing, 0, 1.2)
    shade *= 0.72 + 0.28 * surface.depth  # a surface near the outline faces less of the sky
    lit = colour_of(albedo) * shade
    if gloss > 0.05:
        mirror = (surface.facing + surface.depth) / math.sqrt(2 + 2 * canvas.light[2])  # half-way vector, after Blinn
        for _ in range(5):
            mirror = mirror * mirror  # to the power of 32; surfaces that face away are dark enough already
        lit += gloss * mirror
    blend(canvas, surface.window, lit, surface.alpha)


def colour_of(colour: Field | Colour) -> Field:
    """Return a colour as an array that broadcasts over (3, H, W)."""
    return colour if isinstance(colour, np.ndarray) else np.array(colour, dtype=np.float32)[:, None, None]


def blend(canvas: Canvas, window: tuple[slice, slice], colour: Field | Colour, alpha: Field) -> None:
    """Blend a colour over a window of the canvas with opacity `alpha`."""
    under = canvas.pixels[:, window[0], window[1]]
    under += (colour_of(colour) - under) * alpha


def paint_shadow(canvas: Canvas, pose: Pose, shape: Shape, *, strength: float = 0.5) -> None:
    """Darken the canvas behind a body, on the side away from the light."""
    shift = 0.16 * min(pose.reach, 2.5 * pose.reach * shape.girth)
    fallen = replace(pose, x=pose.x - canvas.light[0] * shift * 1.5, y=pose.y - canvas.light[1] * shift * 1.5)
    softness_px = 4 + shift
    window = window_of(fallen, shape, softness_px)
    _, y, width, slope = _spine(fallen, shape, window, SHADOW_STEP)
    alpha = np.clip((width - np.abs(y)) / np.sqrt(1 + slope * slope) * (pose.reach / softness_px) + 0.5, 0, 1)
    dimmed = (1 - strength * alpha).repeat(SHADOW_STEP, axis=0).repeat(SHADOW_STEP, axis=1)
    covered = canvas.pixels[:, window[0], window[1]]
    covered *= dimmed[: covered.shape[1], : covered.shape[2]]


def paint_body(
    canvas: Canvas, pose: Pose, shape: Shape, albedo: Colour, *, gloss: float = 0.1, mottle: float = 0.06
) -> None:
    """Paint a plain body with its shadow, in one slightly mottled colour."""
    if pose.reach > SHADOWLESS_PX:
        paint_shadow(canvas, pose, shape)
    surface = body_surface(canvas, pose, shape)
    paint_surface(canvas, surface, mottled(canvas, surface, albedo, mottle), gloss=gloss)


def mottled(canvas: Canvas, surface: Surface, albedo: Field | Colour, amount: float) -> Field:
    """Return a colour with lighter and darker patches."""
    patches = canvas.noise("broad", surface.window) + 0.5 * canvas.noise("fine", surface.window)
    return colour_of(albedo) * (1 + amount * patches)


def mix_colours(low: Field | Colour, high: Field | Colour, share: Field) -> Field:
    """Return low where share is 0 and high where it is 1."""
    dark, bright = colour_of(low), colour_of(high)
    return dark + (bright - dark) * np.clip(share, 0, 1)


def colour_between(rng: np.random.Generator, first: Colour, second: Colour) -> Colour:
    """Return a random colour on the line between two colours."""
    share = rng.random()
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def angle_around(v: Field) -> Field:
    """Return the angle around a body's axis at v: an approximation of the arcsine in a tenth of its time."""
    squared = v * v
    return v * (1 + 0.57 * squared * squared)


def paint_leaf(
    canvas: Canvas, pose: Pose, colour: Colour, *, width: float = 0.42, bend: float = 0.0, ruffle: float = 0.0
) -> None:
    """Paint a leaf with a light midrib and side veins. ruffle: how wavy its margin is."""
    waves = 1 + ruffle * np.sin(np.arange(24) * 2.1)
    base = np.interp(np.linspace(-1, 1, 24), [-1, -0.6, 0.1, 0.7, 1], [0.12, 0.75, 1.0, 0.7, 0.1])
    shape = outline((base * waves * round(width, 1)).tolist(), bluntness=3, bend=bend)
    if pose.reach > SHADOWLESS_PX:
        paint_shadow(canvas, pose, shape, strength=0.3)
    surface = body_surface(canvas, pose, shape)
    across = np.abs(surface.v)
    phase = surface.u * 2.5 - across * 0.8
    ribs = 0.3 - np.abs(phase - np.rint(phase)) * 4
    veins = np.maximum(1 - across * 9, ribs)
    pale = (0.25 + 0.75 * colour[0], 0.25 + 0.75 * colour[1], 0.2 + 0.75 * colour[2])
    albedo = mottled(canvas, surface, mix_colours(colour, pale, veins), 0.1)
    paint_surface(canvas, replace(surface, depth=0.6 + 0.4 * surface.depth), albedo, gloss=0.0)


def disc_surface(canvas: Canvas, pose: Pose, squash: float = 1.0) -> Surface:
    """Return the surface of a flat round plate that faces the viewer; u and v are its plane coordinates in reach."""
    window = oval_window(pose, squash, 2)
    x, y = local_coordinates(pose, window)
    y = y / squash
    radius = np.sqrt(x * x + y * y)
    alpha = np.clip((1 - radius) * pose.reach * squash + 0.5, 0, 1)
    flat = np.full_like(radius, canvas.light[2])
    return Surface(window, x, y, flat, np.ones_like(flat), alpha)


def paint_florets(
    canvas: Canvas, pose: Pose, colours: tuple[Colour, Colour], rng: np.random.Generator, *, knob: float, squash: float
) -> None:
    """Paint a dome of round knobs, dark colour in the gaps and light colour on top. knob: radius in reach."""
    window = oval_window(pose, squash, knob * pose.reach + 2)
    x, y = local_coordinates(pose, window)
    dome = np.sqrt(np.clip(1.02 - x * x - (y / squash) ** 2, 0, 1))
    height, cover = dome * (0.8 * pose.reach), np.zeros_like(x)
    count = int(2.6 * squash / knob**1.6)
    radii = np.sqrt((np.arange(count) + rng.random(count)) / count) * (1 - 0.6 * knob)
    turns = np.arange(count) * GOLDEN_ANGLE + rng.uniform(0, 6.3) + rng.normal(0, 0.12, count)
    for radius, turn in zip(radii.tolist(), turns.tolist(), strict=True):
        px, py = pose.at(radius * math.cos(turn), radius * math.sin(turn) * squash)
        size = pose.reach * knob * (1.15 - 0.35 * radius)
        foot = 0.8 * pose.reach * math.sqrt(max(0.0, 1 - radius * radius)) - 0.4 * size
        _raise_knob(height, cover, (px - window[1].start, py - window[0].start), size, foot)
    surface = _lit_height(canvas, Surface(window, x, y, dome, dome, np.clip(cover * knob * pose.reach, 0, 1)), height)
    albedo = mix_colours(colours[0], colours[1], cover * 1.5 - 0.15 + 0.25 * canvas.noise("fine", window))
    albedo *= 1 + 0.16 * canvas.noise("grain", window) + 0.1 * canvas.noise("fine", window)
    paint_surface(canvas, surface, albedo, gloss=0.0)


def _raise_knob(height: Field, cover: Field, centre: tuple[float, float], size: float, foot: float) -> None:
    """Raise a height field by a half-ball whose equator is `foot` high; `cover` becomes the ball's own height, 0 to 1."""
    rows = slice(max(0, int(centre[1] - size)), max(0, int(centre[1] + size) + 2))
    columns = slice(max(0, int(centre[0] - size)), max(0, int(centre[0] + size) + 2))
    part, covered = height[rows, columns], cover[rows, columns]
    dy = np.arange(rows.start, rows.start + part.shape[0], dtype=np.float32)[:, None] - centre[1]
    dx = np.arange(columns.start, columns.start + part.shape[1], dtype=np.float32)[None, :] - centre[0]
    ball = np.clip(1 - (dx * dx + dy * dy) / size**2, 0, 1)
    np.maximum(covered, ball, out=covered)
    np.maximum(part, np.where(ball > 0, np.sqrt(ball) * size + foot, 0), out=part)


def _lit_height(canvas: Canvas, surface: Surface, height: Field) -> Surface:
    if min(height.shape) < 2:
        return surface
    along_y, along_x = np.gradient(height)
    light = canvas.light
    facing = (light[2] - along_x * light[0] - along_y * light[1]) / np.sqrt(1 + along_x**2 + along_y**2)
    return replace(surface, facing=facing, depth=0.35 + 0.65 * surface.depth)


def _clipped(low: float, high: float) -> slice:
    start = min(max(int(low), 0), SIZE)
    return slice(start, min(max(int(high) + 1, start), SIZE))
