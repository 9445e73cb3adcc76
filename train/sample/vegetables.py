"""The fifteen classes of the sample set and the function that paints each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vegrt.train.sample.fruits import (
    bean,
    bitter_gourd,
    bottle_gourd,
    brinjal,
    carrot,
    cucumber,
    papaya,
    potato,
    radish,
)
from vegrt.train.sample.heads import broccoli, cabbage, capsicum, cauliflower, pumpkin, tomato
from vegrt.train.sample.shapes import Canvas, Pose

Painter = Callable[[Canvas, Pose, np.random.Generator], None]

# UPRIGHT: drawn with the axis upright, stem on top. LYING: drawn at any angle.
UPRIGHT: dict[str, Painter] = {
    "Broccoli": broccoli,
    "Cabbage": cabbage,
    "Capsicum": capsicum,
    "Cauliflower": cauliflower,
    "Pumpkin": pumpkin,
    "Tomato": tomato,
}
LYING: dict[str, Painter] = {
    "Bean": bean,
    "Bitter_Gourd": bitter_gourd,
    "Bottle_Gourd": bottle_gourd,
    "Brinjal": brinjal,
    "Carrot": carrot,
    "Cucumber": cucumber,
    "Papaya": papaya,
    "Potato": potato,
    "Radish": radish,
}
PAINTERS: dict[str, Painter] = dict(sorted((UPRIGHT | LYING).items()))
