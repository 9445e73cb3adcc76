"""Find the batch size with the most images per second, by measuring for up to two seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import count

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import VegrtError
from vegrt.infer.runtimes.overlap import answered
from vegrt.infer.runtimes.runner import OverlappingRunner, Runner, prepare_runner

log = logging.getLogger(__name__)

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_BUDGET_S = 2.0
_EACH_S = 0.15  # measuring time of a size, at least three calls
_GAIN = 1.03  # speedup that a larger size must reach to be worth its memory and latency


def find_batch(runner: Runner, shape: tuple[int, int, int], *, budget_s: float = _BUDGET_S) -> int:
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
            measured = _speed(runner, np.repeat(images, batch, axis=0))
        except VegrtError:  # larger than the engine's profile
            break
        if measured > speed * _GAIN:
            best, speed = batch, measured
    log.info("batch %d: %.0f images/s from memory", best, speed)
    return best


def _speed(runner: Runner, images: NDArray[np.uint8]) -> float:
    prepare_runner(runner, len(images))
    runner.logits(images)  # at the first call of a size, runtimes allocate and compile
    start = time.perf_counter()
    for calls in _calls(runner, images):
        spent_s = time.perf_counter() - start
        if spent_s > (_EACH_S if calls >= 3 else 4 * _EACH_S):
            break
    return calls * len(images) / (time.perf_counter() - start)


def _calls(runner: Runner, images: NDArray[np.uint8]) -> Iterator[int]:
    """Answer the same batch without end, as many at once as the runner can; yield the number of answers so far."""
    if isinstance(runner, OverlappingRunner):
        for calls, _ in answered(runner, count(1), lambda _: images, lambda: True):
            yield calls
    for calls in count(1):
        runner.logits(images)
        yield calls
