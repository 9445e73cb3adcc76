"""The scenes of the sample set: background, arrangement of the vegetables, and camera effects.

The constants under "Difficulty" determine how many mistakes a small network makes; `vegrt.train.sample.sample_set` gives the
accuracy that was measured with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image

from vegrt.train.sample.shapes import (
    SIZE,
    Canvas,
    Colour,
    Field,
    Pose,
    colour_between,
    colour_of,
    disc_surface,
    local_coordinates,
    mix_colours,
    outline,
    paint_body,
    paint_leaf,
    paint_shadow,
    paint_surface,
)
from vegrt.train.sample.vegetables import PAINTERS, UPRIGHT

# Difficulty.
COUNT_SHARES = (0.8, 0.14, 0.06)  # share of pictures with one, two and three vegetables of the class
REACH_PX = ((84, 112), (58, 76), (50, 66))  # half-length of each vegetable in pixels, by the number of vegetables
OFF_CENTRE_PX = 10  # standard deviation of a vegetable's position, in pixels
DISTRACTOR_SHARE = 0.08  # share of pictures with a smaller vegetable of another class at the margin
OCCLUDER_SHARE = 0.1  # share of pictures with a leaf or a twig in front
BLUR_SHARE, BLUR_PX = 0.2, (0.5, 1.2)
NOISE = (0.0, 0.03)  # range of the standard deviation of the sensor noise; pixels are in [0, 1]
EXPOSURE = (0.85, 1.15)
WARMTH = 0.08  # largest relative gain of red or of blue
TILT = 0.3  # standard deviation of the angle between an upright vegetable and the vertical, in radians

WHOLE = (slice(0, SIZE), slice(0, SIZE))
Ground = Callable[[Canvas, np.random.Generator], None]


def new_canvas(rng: np.random.Generator) -> Canvas:
    """Return a canvas with a background, lit from the upper left, the upper right or above."""
    turn, height = rng.uniform(-2.8, -0.3), rng.uniform(0.5, 0.85)
    flat = math.sqrt(1 - height * height)
    light = (flat * math.cos(turn), flat * math.sin(turn), height)
    offset = (int(rng.integers(0, 512 - SIZE)), int(rng.integers(0, 512 - SIZE)))
    canvas = Canvas(np.zeros((3, SIZE, SIZE), dtype=np.float32), light, offset)
    GROUNDS[int(rng.integers(len(GROUNDS)))](canvas, rng)
    return canvas


def arrange(canvas: Canvas, label: str, rng: np.random.Generator) -> None:
    """Paint one to three vegetables of a class, sometimes with a distractor behind and a leaf or twig in front."""
    if rng.random() < DISTRACTOR_SHARE:
        _distractor(canvas, label, rng)
    count = 1 + int(rng.choice(3, p=COUNT_SHARES))
    ring, start = 0.0 if count == 1 else rng.uniform(40, 58), rng.uniform(0, 2 * math.pi)
    lean = rng.uniform(0, 2 * math.pi)
    for number in range(count):
        turn = start + number * 2 * math.pi / count
        x = SIZE / 2 + ring * math.cos(turn) + rng.normal(0, OFF_CENTRE_PX)
        y = SIZE / 2 + ring * math.sin(turn) + rng.normal(0, OFF_CENTRE_PX)
        reach = rng.uniform(*REACH_PX[count - 1])
        _place(canvas, label, Pose(x, y, reach, lean + rng.normal(0, 0.5)), rng)
    if rng.random() < OCCLUDER_SHARE:
        _occluder(canvas, rng)


def photograph(canvas: Canvas, rng: np.random.Generator) -> Image.Image:
    """Return the canvas as a photograph with random exposure, white balance, focus and noise."""
    warmth = rng.uniform(-WARMTH, WARMTH)
    exposure = rng.uniform(*EXPOSURE)
    gain = (exposure * (1 + warmth), exposure, exposure * (1 - warmth))
    side = np.linspace(-1, 1, SIZE, dtype=np.float32) ** 2
    falloff = 1 - rng.uniform(0, 0.15) * (side[:, None] + side)
    exposed = canvas.pixels * colour_of(gain) * falloff
    exposed *= 1.25 - 0.25 * exposed  # compresses highlights, as film does, instead of clipping them
    exposed += rng.uniform(*NOISE) * canvas.noise("grain", WHOLE)
    planes = (np.clip(exposed, 0, 1) * 255).astype(np.uint8)
    picture = Image.merge("RGB", [Image.fromarray(plane) for plane in planes])
    if rng.random() < BLUR_SHARE:
        picture = _defocused(picture, rng.uniform(*BLUR_PX))
    return picture


def _defocused(picture: Image.Image, blur_px: float) -> Image.Image:
    """Return a blurred picture. Scales it down and up, in a third of the time of a Gaussian filter."""
    small = int(SIZE / (1 + blur_px))
    return picture.resize((small, small), Image.Resampling.BILINEAR).resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def _place(canvas: Canvas, label: str, pose: Pose, rng: np.random.Generator) -> None:
    if label in UPRIGHT:
        pose = replace(pose, angle=math.pi / 2 + rng.normal(0, TILT))
    PAINTERS[label](canvas, pose, rng)


def _distractor(canvas: Canvas, label: str, rng: np.random.Generator) -> None:
    labels = [name for name in PAINTERS if name != label]
    turn = rng.uniform(0, 2 * math.pi)
    x, y = SIZE / 2 + 112 * math.cos(turn), SIZE / 2 + 112 * math.sin(turn)
    pose = Pose(x, y, rng.uniform(34, 52), rng.uniform(0, 2 * math.pi))
    _place(canvas, labels[int(rng.integers(len(labels)))], pose, rng)


def _occluder(canvas: Canvas, rng: np.random.Generator) -> None:
    x, y = rng.uniform(30, SIZE - 30, 2).tolist()
    pose = Pose(x, y, rng.uniform(28, 50), rng.uniform(0, 2 * math.pi))
    if rng.random() < 0.6:
        green = colour_between(rng, (0.18, 0.36, 0.12), (0.46, 0.60, 0.24))
        paint_leaf(canvas, pose, green, width=rng.uniform(0.3, 0.55), bend=rng.uniform(-0.2, 0.2), ruffle=0.06)
        return
    twig = outline([0.05, 0.04, 0.045, 0.03], bluntness=8, bend=rng.uniform(-0.2, 0.2))
    paint_body(canvas, replace(pose, reach=pose.reach * 2.2), twig, (0.36, 0.27, 0.17), mottle=0.2)


def _wood(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint planks with grain along them."""
    colour = colour_between(rng, (0.34, 0.22, 0.13), (0.74, 0.58, 0.40))
    x, y = _ground_axes(rng)
    plank = rng.uniform(44, 90)
    row = np.floor(y / plank)
    grain = canvas.noise_at("fine", x * 0.06 + row * 37, y * 1.0) + 0.7 * canvas.noise_at("middle", x * 0.12, y * 0.8)
    gap = np.clip(1 - np.abs(y / plank - row - 0.5) * 2, 0, 1) * plank < 2.4
    shade = (1 + 0.17 * grain + 0.12 * np.sin(row * 12.9)) * (1 - 0.55 * gap)
    canvas.pixels[:] = colour_of(colour) * shade


def _cloth(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a woven cloth, plain or checked, with soft folds."""
    colour, second_colour = _any_colour(rng), _any_colour(rng)
    x, y = _ground_axes(rng)
    weave = 0.04 * (np.sin(x * 2.2) + np.sin(y * 2.2))
    folds = 0.14 * canvas.noise("broad", WHOLE)
    check = rng.uniform(16, 40)
    share = 0.45 * ((np.sin(x * math.pi / check) > 0).astype(np.float32) + (np.sin(y * math.pi / check) > 0))
    albedo = mix_colours(colour, second_colour, share if rng.random() < 0.5 else np.zeros_like(share))
    canvas.pixels[:] = albedo * (0.92 + weave + folds)


def _soil(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint crumbly earth with pebbles."""
    colour = colour_between(rng, (0.22, 0.15, 0.10), (0.48, 0.35, 0.23))
    crumbs = (
        0.3 * canvas.noise("fine", WHOLE) + 0.3 * canvas.noise("middle", WHOLE) + 0.12 * canvas.noise("grain", WHOLE)
    )
    canvas.pixels[:] = colour_of(colour) * np.clip(1 + crumbs, 0.3, 2)
    for _ in range(int(rng.integers(2, 7))):
        pebble = _anywhere(rng, rng.uniform(4, 11))
        paint_body(canvas, pebble, outline([0.7, 0.8, 0.65]), colour_between(rng, (0.35, 0.3, 0.25), (0.6, 0.56, 0.5)))


def _plate(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a pale plate on wood or cloth."""
    (_wood if rng.random() < 0.5 else _cloth)(canvas, rng)
    centre = rng.normal(SIZE / 2, 8, 2).tolist()
    plate = Pose(centre[0], centre[1], rng.uniform(92, 122), 0.0)
    paint_shadow(canvas, plate, outline([0.98] * 3), strength=0.4)
    surface = disc_surface(canvas, plate, rng.uniform(0.88, 1.0))
    radius = np.sqrt(surface.u**2 + surface.v**2)
    lean = (surface.u * canvas.light[0] + surface.v * canvas.light[1]) / np.maximum(radius, 0.1)
    rim = np.clip(1 - np.abs(radius - 0.72) * 14, 0, 1) * lean * -0.35 + np.clip((radius - 0.94) * 8, 0, 1) * lean * 0.4
    paint_surface(
        canvas,
        replace(surface, facing=surface.facing + rim),
        colour_between(rng, (0.78, 0.80, 0.84), (0.96, 0.94, 0.90)),
    )


def _foliage(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint overlapping dim leaves, as in a garden bed."""
    _soil(canvas, rng)
    for _ in range(int(rng.integers(5, 9))):
        pose = _anywhere(rng, rng.uniform(28, 54))
        paint_leaf(
            canvas, pose, colour_between(rng, (0.14, 0.28, 0.10), (0.34, 0.48, 0.18)), width=rng.uniform(0.35, 0.6)
        )
    canvas.pixels *= rng.uniform(0.6, 0.9)


def _stone(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a plain worktop, marbled or speckled."""
    colour = _any_colour(rng) if rng.random() < 0.3 else colour_between(rng, (0.24, 0.24, 0.26), (0.88, 0.87, 0.84))
    veins = np.clip(1 - np.abs(canvas.noise("broad", WHOLE) + 0.4 * canvas.noise("middle", WHOLE)) * 9, 0, 1)
    shade = 1 - rng.uniform(0, 0.25) * veins + 0.05 * canvas.noise("grain", WHOLE) + 0.05 * canvas.noise("broad", WHOLE)
    canvas.pixels[:] = colour_of(colour) * shade


def _ground_axes(rng: np.random.Generator) -> tuple[Field, Field]:
    turn = rng.uniform(0, math.pi)
    return local_coordinates(Pose(-300, -300, 1.0, turn), WHOLE)


def _anywhere(rng: np.random.Generator, reach_px: float) -> Pose:
    return Pose(rng.uniform(0, SIZE), rng.uniform(0, SIZE), reach_px, rng.uniform(0, 2 * math.pi))


def _any_colour(rng: np.random.Generator) -> Colour:
    red, green, blue = rng.uniform(0.2, 0.92, 3).tolist()
    grey = (red + green + blue) / 3
    return (red + grey) / 2, (green + grey) / 2, (blue + grey) / 2


GROUNDS: tuple[Ground, ...] = (_wood, _cloth, _soil, _plate, _foliage, _stone)
