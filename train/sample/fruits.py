"""Painters of the vegetables that lie at any angle: pods, gourds, roots and fruits.

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
    Field,
    Pose,
    Shape,
    Surface,
    angle_around,
    body_surface,
    colour_between,
    disc_surface,
    mix_colours,
    mottled,
    outline,
    paint_body,
    paint_leaf,
    paint_shadow,
    paint_surface,
)

SEED = outline([0.75] * 3)
EYE = outline([0.45, 0.5, 0.45], bend=0.3)


def bean(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a handful of thin pods, swollen over their seeds."""
    colour = colour_between(rng, (0.34, 0.58, 0.18), (0.54, 0.70, 0.32))
    for _ in range(int(rng.integers(4, 7))):
        swell = 1 + 0.10 * np.cos(np.linspace(0, 2 * math.pi * 6, 40) + rng.uniform(0, 6))
        shape = outline((rng.uniform(0.055, 0.085) * swell).tolist(), bluntness=6, bend=rng.uniform(-0.22, 0.22))
        pod = pose.part(rng.uniform(-0.12, 0.12), rng.uniform(-0.42, 0.42), rng.uniform(0.7, 1.0), rng.normal(0, 0.22))
        shade = rng.uniform(0.85, 1.15)
        paint_body(canvas, pod, shape, (colour[0] * shade, colour[1] * shade, colour[2] * shade), gloss=0.22)


def bitter_gourd(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a spindle with long ridges and rows of warts between them."""
    colour = colour_between(rng, (0.44, 0.62, 0.20), (0.68, 0.80, 0.38))
    girth = rng.uniform(0.28, 0.38)
    ragged = 1 + rng.uniform(-0.035, 0.035, 40)
    base = np.interp(np.linspace(-1, 1, 40), [-1, -0.75, -0.3, 0.3, 0.75, 1], [0.35, 0.78, 1, 1, 0.66, 0.14])
    shape = outline((base * ragged * girth).tolist(), bluntness=5, bend=rng.uniform(-0.2, 0.2))
    paint_shadow(canvas, pose, shape)
    surface = body_surface(canvas, pose, shape)
    turned = angle_around(surface.v)
    ridges = np.abs(np.cos(turned * rng.uniform(2.6, 3.4)))
    warts = np.clip(canvas.noise_at("middle", surface.u * 95, turned * 34) + 0.3, 0, 1)
    raised = 0.4 * ridges + 0.8 * warts
    dark = (colour[0] * 0.55, colour[1] * 0.62, colour[2] * 0.52)
    albedo = mottled(canvas, surface, mix_colours(dark, colour, raised), 0.08)
    paint_surface(canvas, surface, albedo, gloss=0.3, relief=raised * pose.reach * 0.035)
    paint_body(canvas, pose.sprout(-0.94, 0.55 * shape.bend, 0.12, math.pi), outline([0.2, 0.14]), STEM_GREEN)


def bottle_gourd(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a pale green bottle, with a narrow neck or almost none."""
    colour = colour_between(rng, (0.55, 0.70, 0.36), (0.76, 0.84, 0.56))
    neck, belly = rng.uniform(0.14, 0.30), rng.uniform(0.27, 0.40)
    shape = outline(
        [neck, neck, neck * 1.1, (neck + belly) / 2, belly, belly, belly * 0.95],
        bluntness=5,
        bend=rng.uniform(-0.16, 0.16),
    )
    paint_shadow(canvas, pose, shape)
    surface = body_surface(canvas, pose, shape)
    streaks = canvas.noise_at("middle", surface.u * 30, surface.v * 50)
    albedo = mottled(canvas, surface, mix_colours(colour, (0.86, 0.90, 0.70), 0.25 * streaks), 0.04)
    paint_surface(canvas, surface, albedo, gloss=0.25)
    paint_body(
        canvas,
        pose.sprout(-0.96, 0.6 * shape.bend, 0.13, math.pi + rng.normal(0, 0.3)),
        outline([0.32, 0.2, 0.26]),
        STEM_GREEN,
    )


def brinjal(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a glossy purple drop under a green cap."""
    colour = colour_between(rng, (0.16, 0.06, 0.19), (0.42, 0.16, 0.40))
    girth = rng.uniform(0.34, 0.72) if rng.random() < 0.7 else rng.uniform(0.2, 0.34)
    shape = outline(
        [0.5 * girth, 0.66 * girth, 0.85 * girth, girth, girth, 0.95 * girth],
        bluntness=3.2,
        bend=rng.uniform(-0.15, 0.15),
    )
    paint_shadow(canvas, pose, shape)
    surface = body_surface(canvas, pose, shape)
    streaks = canvas.noise_at("middle", surface.u * 16, surface.v * 60)
    pale = 0.5 if rng.random() < 0.15 else 0.06
    albedo = mix_colours(colour, (0.72, 0.55, 0.68), pale * np.clip(streaks + 0.3, 0, 1))
    paint_surface(canvas, surface, albedo, gloss=0.75)
    green = colour_between(rng, (0.24, 0.40, 0.14), (0.45, 0.55, 0.24))
    for turn in np.linspace(-1, 1, 5).tolist():
        sepal = pose.sprout(-1.0, 0.62 * shape.bend + turn * girth * 0.3, 0.17 + girth * 0.12, turn * 0.75)
        paint_body(canvas, sepal, outline([0.42, 0.4, 0.2]), green, mottle=0.1)
    paint_body(
        canvas,
        pose.sprout(-0.94, 0.6 * shape.bend, 0.16, math.pi + rng.normal(0, 0.25)),
        outline([0.4, 0.26, 0.3]),
        green,
    )


def carrot(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint an orange tapered root with rings and, in 70 % of the pictures, green tops."""
    colour = colour_between(rng, (0.80, 0.32, 0.06), (0.94, 0.52, 0.14))
    if rng.random() < 0.7:
        _tops(canvas, pose, rng, -0.68, feathery=True)
    _root(canvas, pose.part(0.12, 0, 0.88, 0), colour, rng, girth=rng.uniform(0.15, 0.25))


def radish(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a long white root, or a round pink one, under broad leaves."""
    long = rng.random() < 0.7
    _tops(canvas, pose, rng, -0.68 if long else -0.32, feathery=False)
    if long:
        colour = colour_between(rng, (0.86, 0.84, 0.76), (0.95, 0.92, 0.84))
        _root(canvas, pose.part(0.12, 0, 0.88, 0), colour, rng, girth=rng.uniform(0.16, 0.26))
        return
    colour = colour_between(rng, (0.74, 0.10, 0.24), (0.86, 0.26, 0.42))
    globe = pose.part(0.12, 0, 0.5, 0)
    tail = outline([0.2, 0.12, 0.05, 0.03], bend=rng.uniform(-0.2, 0.2))
    paint_body(canvas, globe.sprout(0.75, 0, 0.45, rng.normal(0, 0.2)), tail, (0.93, 0.84, 0.82))
    paint_body(canvas, globe, outline([0.75, 0.92, 0.9, 0.6], bluntness=2.4), colour, gloss=0.4)


def _root(canvas: Canvas, pose: Pose, colour: Colour, rng: np.random.Generator, *, girth: float) -> None:
    taper = [girth * 0.92, girth, girth * 0.93, girth * 0.8, girth * 0.62, girth * 0.4, girth * 0.12]
    shape = outline(taper, bluntness=7, bend=rng.uniform(-0.14, 0.14))
    paint_shadow(canvas, pose, shape)
    surface = body_surface(canvas, pose, shape)
    rings = np.clip(canvas.noise_at("fine", surface.u * 95, surface.v * 2.5 + 40) - 0.55, 0, 1) * 1.6
    crown = np.clip((-0.86 - surface.u) * 9, 0, 1) * 0.5
    dark = (colour[0] * 0.68, colour[1] * 0.64, colour[2] * 0.6)
    albedo = mix_colours(mix_colours(colour, dark, rings), (0.52, 0.56, 0.22), crown)
    paint_surface(canvas, surface, mottled(canvas, surface, albedo, 0.05), gloss=0.16, relief=-rings * 0.7)


def _tops(canvas: Canvas, pose: Pose, rng: np.random.Generator, start: float, *, feathery: bool) -> None:
    """Paint a bunch of leaves on stalks that grow from `start` on the axis."""
    green = colour_between(rng, (0.22, 0.44, 0.12), (0.40, 0.60, 0.22))
    for turn in rng.normal(0, 0.4, 4 if feathery else 3).tolist():
        stalk = pose.sprout(start, 0, 0.16, math.pi + turn)
        paint_body(canvas, stalk, outline([0.13, 0.09, 0.07], bend=rng.uniform(-0.15, 0.15)), STEM_GREEN)
        if feathery:
            paint_leaf(canvas, stalk.sprout(-0.2, 0, 1.1, rng.normal(0, 0.15)), green, width=0.5, ruffle=0.55)
        else:
            paint_leaf(canvas, stalk.sprout(0.1, 0, 1.5, 0), green, width=rng.uniform(0.35, 0.5), ruffle=0.12)


def cucumber(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a dark green cylinder with pale streaks from its end, sometimes with cut slices."""
    colour = colour_between(rng, (0.07, 0.20, 0.08), (0.20, 0.38, 0.15))
    girth = rng.uniform(0.16, 0.23)
    shape = outline(
        [girth * 0.8, girth * 0.95, girth, girth, girth * 0.95, girth * 0.85],
        bluntness=6,
        bend=rng.uniform(-0.16, 0.16),
    )
    paint_shadow(canvas, pose, shape)
    surface = body_surface(canvas, pose, shape)
    turned = angle_around(surface.v) * 26
    streaks = np.clip(canvas.noise_at("middle", surface.u * 12 + 90, turned * 1.7), 0, 1) * np.clip(
        surface.u * 0.7 + 0.55, 0, 1
    )
    bumps = np.clip(canvas.noise_at("fine", surface.u * 70, turned) - 0.75, 0, 1) * 2
    albedo = mix_colours(colour, (0.66, 0.74, 0.42), streaks * 0.9 + bumps * 0.3)
    paint_surface(canvas, surface, mottled(canvas, surface, albedo, 0.06), gloss=0.25, relief=bumps * pose.reach * 0.02)
    if rng.random() < 0.3:
        for step in range(int(rng.integers(2, 5))):
            cut = pose.part(
                -0.3 + 0.3 * step, girth * 1.7 + rng.normal(0, 0.08), girth * rng.uniform(0.95, 1.15), rng.uniform(0, 6)
            )
            _slice(canvas, cut, colour)


def _slice(canvas: Canvas, pose: Pose, rind: Colour) -> None:
    paint_shadow(canvas, pose, outline([0.95] * 3))
    surface = disc_surface(canvas, pose, 0.93)
    radius = np.sqrt(surface.u**2 + surface.v**2)
    turn = np.arctan2(surface.v, surface.u)
    flesh = mix_colours((0.80, 0.88, 0.60), (0.90, 0.93, 0.74), np.clip(radius * 2.2 - 0.9, 0, 1))
    seeds = np.clip(np.cos(turn * 9) * 3 - 1.6, 0, 1) * np.clip(1 - np.abs(radius - 0.38) * 7, 0, 1)
    albedo = mix_colours(mix_colours(flesh, (0.95, 0.93, 0.76), seeds), rind, (radius - 0.88) * 14)
    paint_surface(canvas, surface, albedo)


def papaya(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a green to yellow oval, often beside a cut half with black seeds."""
    girth = rng.uniform(0.42, 0.58)
    shape = outline([girth * 0.75, girth * 0.9, girth, girth, girth * 0.92, girth * 0.75], bluntness=2.4)
    if rng.random() < 0.45:
        _papaya_half(canvas, pose, shape, rng)
        return
    green, ripe = (
        colour_between(rng, (0.20, 0.42, 0.13), (0.42, 0.58, 0.20)),
        colour_between(rng, (0.86, 0.62, 0.14), (0.90, 0.50, 0.12)),
    )
    paint_shadow(canvas, pose, shape)
    surface = body_surface(canvas, pose, shape)
    ripeness = (
        rng.uniform(-0.5, 0.9) + 0.5 * surface.u + 0.35 * canvas.noise_at("broad", surface.u * 60, surface.v * 60)
    )
    ribs = np.abs(np.cos(angle_around(surface.v) * 2.5))
    albedo = mix_colours(green, ripe, ripeness)
    paint_surface(canvas, surface, mottled(canvas, surface, albedo, 0.06), gloss=0.3, relief=ribs * pose.reach * 0.02)
    paint_body(canvas, pose.sprout(-0.95, 0, 0.1, math.pi), outline([0.5, 0.4]), WOODY)


def _papaya_half(canvas: Canvas, pose: Pose, shape: Shape, rng: np.random.Generator) -> None:
    paint_shadow(canvas, pose, shape)
    rind = body_surface(canvas, pose, shape)
    paint_surface(canvas, rind, colour_between(rng, (0.45, 0.55, 0.18), (0.85, 0.62, 0.18)))
    inner = replace(pose, reach=pose.reach * 0.94)
    flesh = body_surface(canvas, inner, shape)
    colour = colour_between(rng, (0.93, 0.46, 0.16), (0.96, 0.62, 0.26))
    paint_surface(canvas, _flattened(canvas, flesh), mottled(canvas, flesh, colour, 0.06), gloss=0.0)
    hollow = pose.part(0.06, 0, 0.62, 0)
    cavity = outline([shape.girth * 0.5, shape.girth * 0.85, shape.girth * 0.8, shape.girth * 0.4])
    surface = body_surface(canvas, hollow, cavity)
    paint_surface(canvas, _flattened(canvas, surface), (colour[0] * 0.82, colour[1] * 0.7, colour[2] * 0.6))
    dark = colour_between(rng, (0.10, 0.09, 0.08), (0.22, 0.18, 0.14))
    for _ in range(24):
        u, w = rng.normal(0, 0.36), rng.normal(0, 0.34)
        if u * u / 0.72 + w * w / 0.5 < 1:
            seed = hollow.part(u, w * shape.girth, 0.095, rng.uniform(0, 6))
            paint_surface(canvas, body_surface(canvas, seed, SEED), dark, gloss=0.5)


def _flattened(canvas: Canvas, surface: Surface) -> Surface:
    level: Field = np.full_like(surface.facing, canvas.light[2])
    return replace(surface, facing=level, depth=np.ones_like(level))


def potato(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a lumpy tan tuber with eyes and specks."""
    colour = colour_between(rng, (0.60, 0.43, 0.23), (0.84, 0.68, 0.42))
    girth = rng.uniform(0.58, 0.86)
    shape = outline((girth * (1 + rng.uniform(-0.09, 0.09, 6))).tolist(), bluntness=2.5, bend=rng.uniform(-0.12, 0.12))
    paint_shadow(canvas, pose, shape)
    surface = body_surface(canvas, pose, shape)
    specks = np.clip(canvas.noise("fine", surface.window) - 0.65, 0, 1) * 1.4
    dark = (colour[0] * 0.6, colour[1] * 0.55, colour[2] * 0.5)
    albedo = mottled(canvas, surface, mix_colours(colour, dark, specks), 0.13)
    lumps = (
        canvas.noise("broad", surface.window) * pose.reach * 0.1
        + canvas.noise("middle", surface.window) * pose.reach * 0.015
    )
    paint_surface(canvas, surface, albedo, gloss=0.04, relief=lumps)
    for _ in range(int(rng.integers(3, 7))):
        eye = pose.part(
            rng.uniform(-0.7, 0.7), rng.uniform(-0.6, 0.6) * girth, rng.uniform(0.05, 0.08), rng.uniform(0, 3)
        )
        paint_surface(canvas, body_surface(canvas, eye, EYE), dark, gloss=0.0)
