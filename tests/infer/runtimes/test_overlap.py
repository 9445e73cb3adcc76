"""A stream of batches with a runner that works on two at once: order, what is in progress, and no answer that waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from vegrt.infer.runtimes.lanes import Begun
from vegrt.infer.runtimes.overlap import answered
from vegrt.infer.runtimes.runner import Answers, OverlappingRunner, RuntimeName, prepare_runner


class CountingRunner:
    """Answers with the images' sums, as many batches at once as it has lanes."""

    runtime: RuntimeName = "tensorrt"
    device = "cuda"
    lanes = 2

    def __init__(self) -> None:
        self.in_progress: deque[Begun] = deque()
        self.most = 0
        self.prepared: list[int] = []

    def begin(self, images: NDArray[np.uint8]) -> Begun:
        begun = Begun([images.sum(axis=(1, 2, 3), dtype=np.float32)[:, None]])
        self.in_progress.append(begun)
        self.most = max(self.most, len(self.in_progress))
        return begun

    def finish(self, begun: Begun) -> Answers:
        assert self.in_progress.popleft() is begun
        return Answers(begun.rows[0])

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        return self.finish(self.begin(images))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.answers(images).logits

    def prepare(self, batch: int) -> None:
        self.prepared.append(batch)


class PlainRunner:
    """The same without `begin` and `finish`."""

    runtime: RuntimeName = "onnxruntime"
    device = "cpu"

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        return Answers(images.sum(axis=(1, 2, 3), dtype=np.float32)[:, None])

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.answers(images).logits


def images_of(number: int) -> NDArray[np.uint8] | None:
    """Return the images of a batch; number 3 has none that is readable."""
    return None if number == 3 else np.full((2, 1, 1, 1), number, np.uint8)


@pytest.mark.parametrize("runner", [CountingRunner(), PlainRunner()])
def test_every_batch_gets_its_answers_in_order(runner: CountingRunner | PlainRunner) -> None:
    pairs = [(batch, answers) for batch, answers in answered(runner, iter(range(6)), images_of, lambda: True)]
    assert [batch for batch, _ in pairs] == list(range(6))
    assert [answers and float(answers.logits[0, 0]) for _, answers in pairs] == [0.0, 1.0, 2.0, None, 4.0, 5.0]


def test_as_many_batches_are_in_progress_as_there_are_lanes_where_the_next_one_is_ready() -> None:
    runner = CountingRunner()
    assert isinstance(runner, OverlappingRunner)
    for _ in answered(runner, iter((0, 1, 2)), images_of, lambda: True):
        pass
    assert runner.most == 2


def test_no_answer_waits_for_a_batch_that_comes_later() -> None:
    """As with a watched folder: the second batch comes only after the first has been answered."""
    runner, delivered = CountingRunner(), list[int]()

    def slow() -> Iterator[int]:
        for number in range(3):
            assert delivered == list(range(number))
            yield number

    for batch, _ in answered(runner, slow(), images_of, lambda: False):
        delivered.append(batch)
    assert delivered == [0, 1, 2]
    assert runner.most == 1


def test_what_came_before_a_failure_of_the_source_is_answered() -> None:
    def broken() -> Iterator[int]:
        yield from (0, 1)
        raise OSError("the source broke")

    batches = answered(CountingRunner(), broken(), images_of, lambda: True)
    assert [next(batches)[0], next(batches)[0]] == [0, 1]
    with pytest.raises(OSError, match="the source broke"):
        next(batches)


def test_a_runner_without_anything_to_prepare_is_left_alone() -> None:
    runner = CountingRunner()
    for subject in (runner, PlainRunner()):
        prepare_runner(subject, 4)
    assert runner.prepared == [4]
