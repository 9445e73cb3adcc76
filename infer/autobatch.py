"""The batch size that gives most images per second, found by trying for a second or two."""

from __future__ import annotations

import logging
import time

import numpy as np

from vegrt.errors import VegrtError
from vegrt.infer.runtimes.runner import Runner

log = logging.getLogger(__name__)

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_BUDGET_S = 2.0
_EACH_S = 0.15  # how long a size is tried, and three times at least
_GAIN = 1.03  # what a larger size must bring to be worth its memory and its wait


def find_batch(runner: Runner, size: int, *, budget_s: float = _BUDGET_S) -> int:
    """Return the best batch size of 1, 2, 4, ... 128 for images of size x size pixels, and log it with its speed.

    Stops after `budget_s` seconds, or when two doublings in a row brought nothing. Pixels are random: that changes no time.
    """
    images = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    start = time.perf_counter()
    best, speed = 1, 0.0
    for batch in _SIZES:
        if batch > 4 * best or time.perf_counter() - start > budget_s:
            break
        try:
            found = _speed(runner, np.repeat(images, batch, axis=0))
        except VegrtError:  # more than an engine takes
            break
        if found > speed * _GAIN:
            best, speed = batch, found
    log.info("batch %d: %.0f images/s from memory", best, speed)
    return best


def _speed(runner: Runner, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    runner.logits(images)  # the first time of a size, runtimes allocate and compile
    start, times = time.perf_counter(), 0
    while times < 3 or time.perf_counter() - start < _EACH_S:
        runner.logits(images)
        times += 1
        if times and time.perf_counter() - start > 4 * _EACH_S:
            break
    return times * len(images) / (time.perf_counter() - start)
