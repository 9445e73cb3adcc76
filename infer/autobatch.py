"""Find the batch size with the most images per second, by measuring for up to two seconds."""

from __future__ import annotations

import logging
import time
from itertools import count

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import VegrtError
from vegrt.infer.runtimes.overlap import answered
from vegrt.infer.runtimes.runner import BundleRunner, OverlappingRunner, prepare_runner

log = logging.getLogger(__name__)

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_BUDGET_S = 2.0
EACH_S = 0.15  # measuring time of a size, at least three turns of all lanes
GAIN = 1.03  # speedup that what takes more memory and latency must reach to be worth it


def find_batch(runner: BundleRunner, shape: tuple[int, int, int], *, budget_s: float = _BUDGET_S) -> int:
    """Return the fastest batch size of 1, 2, 4, ... 128 for images of a shape (H, W, 3), and log it with its speed.

    Stops after `budget_s` seconds, or when two doublings in a row bring no gain. Pixels are random: the time does not depend on
    them.
    """
    images = np.random.default_rng(0).integers(0, 256, (1, *shape), np.uint8)
    start = time.perf_counter()
    best, speed = 1, 0.0
    for batch in _SIZES:
        if batch > 4 * best or time.perf_counter() - start > budget_s:
            break
        try:
            measured = images_per_s(runner, np.repeat(images, batch, axis=0))
        except VegrtError:  # larger than the engine's profile
            break
        if measured > speed * GAIN:
            best, speed = batch, measured
    log.info("batch %d: %.0f images/s from memory", best, speed)
    return best


def images_per_s(runner: BundleRunner, images: NDArray[np.uint8]) -> float:
    """Return how many images per second a runner answers, by answering the same batch for EACH_S, as many at once as it can.

    Whole turns of its lanes are timed: their batches may finish together.
    """
    prepare_runner(runner, len(images))
    lanes = runner.lanes if isinstance(runner, OverlappingRunner) else 1
    turns = (calls for calls, _ in answered(runner, count(1), lambda _: images, lambda: True) if calls % lanes == 0)
    untimed = next(turns)  # fills the lanes; at the first call of a size, runtimes allocate and compile
    start = time.perf_counter()
    for calls in turns:
        spent_s = time.perf_counter() - start
        if spent_s > (EACH_S if calls >= untimed + 3 * lanes else 4 * EACH_S):
            break
    return (calls - untimed) * len(images) / spent_s
