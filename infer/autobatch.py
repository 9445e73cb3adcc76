"""Find the batch size with the most images per second, by measuring for up to two seconds."""

from __future__ import annotations

import logging
import time

import numpy as np

from vegrt.errors import VegrtError
from vegrt.infer.runtimes.runner import Runner

log = logging.getLogger(__name__)

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_BUDGET_S = 2.0
_EACH_S = 0.15  # measuring time of a size, at least three calls
_GAIN = 1.03  # speedup that a larger size must reach to be worth its memory and latency


def find_batch(runner: Runner, size: int, *, budget_s: float = _BUDGET_S) -> int:
    """Return the fastest batch size of 1, 2, 4, ... 128 for images of size x size pixels, and log it with its speed.

    Stops after `budget_s` seconds, or when two doublings in a row bring no gain. Pixels are random: the time does not depend on
    them.
    """
    images = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    start = time.perf_counter()
    best, speed = 1, 0.0
    for batch in _SIZES:
        if batch > 4 * best or time.perf_counter() - start > budget_s:
            break
        try:
            measured = _speed(runner, np.repeat(images, batch, axis=0))
        except VegrtError:  # larger than the engine's profile
            break
        if measured > speed * _GAIN:
            best, speed = batch, measured
    log.info("batch %d: %.0f images/s from memory", best, speed)
    return best


def _speed(runner: Runner, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    runner.logits(images)  # at the first call of a size, runtimes allocate and compile
    start, calls = time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - start < _EACH_S:
        runner.logits(images)
        calls += 1
        if time.perf_counter() - start > 4 * _EACH_S:
            break
    return calls * len(images) / (time.perf_counter() - start)
