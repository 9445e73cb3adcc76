"""Painters of the vegetables that are drawn upright, stem on top: heads and globes.

Every function paints within about `pose.reach` of the pose's centre and draws every variation from `rng`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vegrt.train.sample.shapes import (
    STEM_GREEN,
    WOODY,
    Canvas,
    Colour,
    Pose,
    angle_around,
    body_surface,
    colour_between,
    mix_colours,
    mottled,
    outline,
    paint_body,
    paint_florets,
    paint_leaf,
    paint_shadow,
    paint_surface,
)


def broccoli(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a thick pale stalk, its branches and a dome of fine green florets."""
    stalk = colour_between(rng, (0.52, 0.66, 0.34), (0.70, 0.78, 0.48))
    for turn in (-0.55, 0.55, 0.0):
        branch = pose.sprout(0.62 - 0.25 * abs(turn), turn * 0.25, 0.42, math.pi + turn * rng.uniform(0.8, 1.2))
        paint_body(canvas, branch, outline([0.42, 0.4, 0.5], bluntness=6), stalk)
    paint_body(canvas, pose.part(0.62, 0, 0.4, 0), outline([0.5, 0.42, 0.42, 0.44], bluntness=8), stalk)
    top = colour_between(rng, (0.26, 0.46, 0.16), (0.42, 0.60, 0.28))
    dark = (top[0] * 0.45, top[1] * 0.5, top[2] * 0.5)
    squash = rng.uniform(0.72, 0.9)
    crown = pose.part(-0.32, 0, 0.8, math.pi / 2)
    paint_shadow(canvas, crown, outline([squash] * 3), strength=0.35)
    paint_florets(canvas, crown, (dark, top), rng, knob=rng.uniform(0.13, 0.2), squash=squash)


def cabbage(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a pale head wrapped in veined leaves."""
    colour = colour_between(rng, (0.50, 0.68, 0.34), (0.78, 0.86, 0.60))
    dark = (colour[0] * 0.72, colour[1] * 0.80, colour[2] * 0.68)
    for turn in (rng.uniform(-0.25, 0.25, 3) + np.array([-2.2, 2.2, 0.3])).tolist():
        _wrap(
            canvas,
            pose.part(0.25 * math.cos(turn), 0.25 * math.sin(turn), 0.72, turn),
            dark,
            rng,
            rng.uniform(0.85, 1.05),
        )
    _wrap(canvas, pose.part(0, 0, 0.84, rng.normal(0, 0.2)), colour, rng, rng.uniform(0.9, 1.05))
    for side in (1, -1):
        lapped = (min(1.0, colour[0] * rng.uniform(0.92, 1.1)), min(1.0, colour[1] * 1.02), colour[2])
        _wrap(
            canvas, pose.part(0.16, side * 0.3, 0.7, side * rng.uniform(0.2, 0.7)), lapped, rng, rng.uniform(0.62, 0.76)
        )


def _wrap(canvas: Canvas, pose: Pose, colour: Colour, rng: np.random.Generator, girth: float) -> None:
    """Paint one cupped cabbage leaf; its veins fan out from the base at u = 1."""
    ruffle = 1 + rng.uniform(-0.04, 0.04, 24)
    shape = outline((girth * ruffle).tolist(), bluntness=2.2)
    paint_shadow(canvas, pose, shape, strength=0.35)
    surface = body_surface(canvas, pose, shape)
    fan = surface.v * np.sqrt(np.clip(1 - surface.u * surface.u, 0.05, 1)) * girth / (1.25 - np.clip(surface.u, -1, 1))
    wander = 0.35 * canvas.noise("broad", surface.window)
    phase = fan * 2.2 + 0.12 * wander
    veins = np.clip(np.maximum(0.8 - np.abs(phase - np.rint(phase)) * 14, 1 - np.abs(fan) * 16), 0, 1)
    albedo = mottled(canvas, surface, mix_colours(colour, (0.93, 0.95, 0.82), veins * 0.75), 0.07)
    rim = np.clip((np.abs(surface.v) - 0.9) * 6, 0, 1)
    paint_surface(canvas, surface, mix_colours(albedo, (0.9, 0.94, 0.74), rim * 0.5), gloss=0.07)


def capsicum(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a glossy block of lobes around a sunken stem: green, red or yellow."""
    ends: tuple[tuple[Colour, Colour], ...] = (
        ((0.13, 0.38, 0.10), (0.34, 0.58, 0.18)),
        ((0.66, 0.07, 0.05), (0.84, 0.20, 0.09)),
        ((0.90, 0.62, 0.08), (0.96, 0.78, 0.16)),
    )
    colour = colour_between(rng, *ends[int(rng.choice(3, p=(0.70, 0.15, 0.15)))])
    girth = rng.uniform(0.66, 0.88)
    shape = outline(
        [girth * 0.9, girth, girth, girth * 0.94, girth * rng.uniform(0.7, 0.88)], bluntness=rng.uniform(3.5, 5)
    )
    paint_shadow(canvas, pose, shape)
    surface = body_surface(canvas, pose, shape)
    lobes = np.sqrt(np.abs(np.cos(angle_around(surface.v) * 1.5 + rng.normal(0, 0.3))))
    dent = np.clip(1 - ((surface.u + 0.86) ** 2 / 0.05 + surface.v**2 / 0.25), 0, 1)
    deep = (colour[0] * 0.55, colour[1] * 0.55, colour[2] * 0.55)
    albedo = mix_colours(deep, colour, 0.15 + 0.95 * lobes - 0.9 * dent)
    paint_surface(canvas, surface, mottled(canvas, surface, albedo, 0.05), gloss=0.75, relief=lobes * pose.reach * 0.12)
    paint_body(canvas, pose.part(-0.8, 0, 0.13, math.pi / 2), outline([0.6, 0.7, 0.6]), STEM_GREEN)
    paint_body(
        canvas,
        pose.sprout(-0.8, 0, 0.16, math.pi + rng.normal(0, 0.35)),
        outline([0.45, 0.3, 0.36], bluntness=6),
        STEM_GREEN,
    )


def cauliflower(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a cream dome of florets in a collar of green leaves."""
    green = colour_between(rng, (0.34, 0.54, 0.22), (0.58, 0.72, 0.40))
    start = rng.uniform(0, 6.3)
    for turn in np.linspace(0, 2 * math.pi, int(rng.integers(5, 7)), endpoint=False).tolist():
        collar = pose.part(0.1, 0, 1, 0).sprout(0, 0, rng.uniform(0.42, 0.5), start + turn + rng.normal(0, 0.12))
        paint_leaf(canvas, collar, green, width=rng.uniform(0.7, 0.9), ruffle=0.08)
    curd = colour_between(rng, (0.90, 0.86, 0.70), (0.97, 0.95, 0.86))
    gaps = (curd[0] * 0.66, curd[1] * 0.63, curd[2] * 0.5)
    head = pose.part(0, 0, rng.uniform(0.62, 0.76), math.pi / 2)
    squash = rng.uniform(0.82, 0.98)
    paint_shadow(canvas, head, outline([squash] * 3), strength=0.4)
    paint_florets(canvas, head, (gaps, curd), rng, knob=rng.uniform(0.16, 0.25), squash=squash)
    for side in (-1, 1):
        paint_leaf(canvas, pose.part(0.62, side * 0.32, 0.46, math.pi / 2 + side * 1.0), green, width=0.42, ruffle=0.08)


def pumpkin(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a wide ribbed globe with a woody stem: orange, tan or mottled green."""
    ends: tuple[tuple[Colour, Colour], ...] = (
        ((0.86, 0.40, 0.06), (0.94, 0.58, 0.14)),
        ((0.72, 0.50, 0.22), (0.82, 0.62, 0.34)),
        ((0.24, 0.38, 0.14), (0.48, 0.54, 0.24)),
    )
    kind = int(rng.choice(3, p=(0.75, 0.15, 0.1)))
    colour = colour_between(rng, *ends[kind])
    flat = rng.uniform(0.66, 0.86)  # height over width; the axis is the short one
    globe = replace(pose, reach=pose.reach * flat)
    shape = outline([1 / flat] * 4, bluntness=2.5)
    paint_shadow(canvas, globe, shape)
    surface = body_surface(canvas, globe, shape)
    ribs = np.sqrt(np.abs(np.cos(angle_around(surface.v) * rng.uniform(3.2, 4.6))))
    deep = (colour[0] * 0.62, colour[1] * 0.5, colour[2] * 0.45)
    spots = canvas.noise_at("middle", surface.u * 50, surface.v * 60) * (0.9 if kind == 2 else 0.15)
    albedo = mix_colours(mix_colours(deep, colour, 0.2 + 0.85 * ribs), (0.82, 0.74, 0.46), np.clip(spots, 0, 0.6))
    paint_surface(canvas, surface, mottled(canvas, surface, albedo, 0.07), gloss=0.2, relief=ribs * globe.reach * 0.1)
    stem = globe.sprout(-0.78, 0, 0.24, math.pi + rng.normal(0, 0.4))
    paint_body(
        canvas, stem, outline([0.6, 0.32, 0.3, 0.42], bluntness=6, bend=rng.uniform(-0.3, 0.3)), WOODY, mottle=0.15
    )


def tomato(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a glossy red globe, at times not yet ripe, under a green star."""
    red = colour_between(rng, (0.72, 0.08, 0.05), (0.90, 0.24, 0.10))
    unripe = colour_between(rng, (0.90, 0.52, 0.14), (0.62, 0.70, 0.26))
    girth = rng.uniform(0.92, 1.14)
    globe = replace(pose, reach=pose.reach * 0.88)
    shape = outline([girth * 0.98, girth, girth, girth * 0.94], bluntness=2.3)
    paint_shadow(canvas, globe, shape)
    surface = body_surface(canvas, globe, shape)
    ripeness = (1.5 if rng.random() < 0.9 else 0.35) + 0.4 * surface.u + 0.2 * canvas.noise("broad", surface.window)
    folds = np.abs(np.cos(angle_around(surface.v) * 2.5)) * np.clip(-surface.u, 0, 1)
    paint_surface(canvas, surface, mix_colours(unripe, red, ripeness), gloss=0.6, relief=folds * globe.reach * 0.08)
    green = colour_between(rng, (0.20, 0.40, 0.12), (0.36, 0.54, 0.18))
    top = rng.uniform(-0.82, -0.4)
    for turn in (np.arange(5) * 1.257 + rng.uniform(0, 6)).tolist():
        sepal = globe.sprout(top, 0, rng.uniform(0.17, 0.24), turn + rng.normal(0, 0.1))
        paint_body(canvas, sepal, outline([0.3, 0.26, 0.08], bend=rng.uniform(-0.25, 0.25)), green)
    paint_body(canvas, globe.sprout(top, 0, 0.1, math.pi + rng.normal(0, 0.5)), outline([0.4, 0.36]), green)
