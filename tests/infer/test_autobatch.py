"""The speed of a runner that works on several batches at once, with a clock that only the runner moves."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vegrt.infer import autobatch
from vegrt.infer.autobatch import find_batch, images_per_s
from vegrt.infer.runtimes.lanes import Begun
from vegrt.infer.runtimes.runner import Answers, RuntimeName


class Streams:
    """Four lanes that run side by side: every fourth answer comes after `batch_s`, those before it at once.

    The first turn takes a second more.
    """

    runtime: RuntimeName = "openvino"
    device = "cpu"
    lanes = 4

    def __init__(self, batch_s: float) -> None:
        self.now_s, self._batch_s, self._finished = 0.0, batch_s, 0

    def perf_counter(self) -> float:
        return self.now_s

    def prepare(self, batch: int) -> None:
        self._finished = 0

    def begin(self, images: NDArray[np.uint8]) -> Begun:
        return Begun([np.zeros((len(images), 2), np.float32)])

    def finish(self, begun: Begun) -> Answers:
        self._finished += 1
        self.now_s += 0.0 if self._finished % self.lanes else self._batch_s
        self.now_s += 1.0 if self._finished == self.lanes else 0.0
        return Answers(begun.rows[0])

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        return self.finish(self.begin(images))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.answers(images).logits


def test_batches_that_run_side_by_side_all_count(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Streams(0.04)
    monkeypatch.setattr(autobatch, "time", runner)
    assert images_per_s(runner, np.zeros((2, 4, 4, 3), np.uint8)) == pytest.approx(4 * 2 / 0.04)


def test_the_largest_batch_is_the_fastest_of_a_runner_whose_time_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Streams(0.001)
    monkeypatch.setattr(autobatch, "time", runner)
    assert find_batch(runner, (4, 4, 3), budget_s=99.0) == 128
    monkeypatch.setattr(autobatch, "images_per_s", lambda _, images: {1: 10.0, 2: 10.2, 4: 20.0}.get(len(images), 20.1))
    assert find_batch(runner, (4, 4, 3)) == 4, "2 % more are not worth a batch of twice the size"
