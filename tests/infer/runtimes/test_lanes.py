"""How images pass through lanes: every image once, in order, also from call to call, and no lane is given two batches at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vegrt.infer.runtimes.lanes import Lanes, parts


class DoublingLane:
    """Returns twice each image's number, from a buffer that it reuses; refuses to be used wrongly."""

    def __init__(self, busy: list[DoublingLane]) -> None:
        self.busy, self.buffer = busy, np.empty((100, 1), np.float32)
        self.most = 0
        self.fails_at = -1.0

    def begin(self, images: NDArray[np.uint8]) -> None:
        assert self not in self.busy
        self.busy.append(self)
        self.most = max(self.most, len(self.busy))
        self.buffer[: len(images)] = 2.0 * images.reshape(-1, 1)

    def finish(self, count: int) -> NDArray[np.float32]:
        if self.fails_at in self.buffer[:count]:
            raise RuntimeError("this image fails")
        assert self.busy[0] is self  # in the order in which they began
        self.busy.remove(self)
        return self.buffer[:count]

    def settle(self) -> None:
        if self in self.busy:
            self.busy.remove(self)


def numbers(first: int, count: int) -> NDArray[np.uint8]:
    return np.arange(first, first + count, dtype=np.uint8).reshape(-1, 1, 1, 1)


@given(count=st.integers(0, 200), largest=st.integers(1, 40))
def test_parts_cover_everything_in_order(count: int, largest: int) -> None:
    ranges = list(parts(count, largest))
    assert [index for part in ranges for index in range(count)[part]] == list(range(count))
    assert all(part.stop - part.start == largest for part in ranges[:-1])
    assert all(0 < part.stop - part.start <= largest for part in ranges[-1:])


@given(
    sizes=st.lists(st.integers(0, 60), max_size=6),
    largest=st.integers(0, 25),
    count=st.integers(1, 4),
    ahead=st.integers(1, 5),
)
def test_batches_come_back_in_order_however_many_are_begun_before_one_is_finished(
    sizes: list[int], largest: int, count: int, ahead: int
) -> None:
    busy: list[DoublingLane] = []
    lanes = Lanes([DoublingLane(busy) for _ in range(count)], largest)
    begun, answers = [], []
    for size in sizes:
        images = numbers(0, size)
        begun.append(lanes.begin(images))
        images[:] = 0  # the caller's again
        if len(begun) == ahead:
            answers.append(lanes.finish(begun.pop(0)))
    answers += [lanes.finish(batch) for batch in begun]
    for answer, size in zip(answers, sizes, strict=True):
        assert answer.ravel().tolist() == [2.0 * number for number in range(size)]
    assert not busy


def test_single_calls_take_turns_and_two_batches_are_in_progress() -> None:
    busy: list[DoublingLane] = []
    both = [DoublingLane(busy), DoublingLane(busy)]
    lanes = Lanes(both, 32)
    first = lanes.begin(numbers(0, 16))
    second = lanes.begin(numbers(16, 16))
    assert busy == both
    answers = lanes.finish(first)
    third = lanes.begin(numbers(32, 16))
    assert busy == [both[1], both[0]]
    assert [lanes.finish(begun)[0, 0] for begun in (second, third)] == [32.0, 64.0]
    assert answers[0, 0] == 0.0  # not a view of a lane's buffer
    assert len(lanes) == 2


def test_a_failure_fails_all_that_is_in_progress_and_nothing_after_it() -> None:
    busy: list[DoublingLane] = []
    both = [DoublingLane(busy), DoublingLane(busy)]
    lanes = Lanes(both, 32)
    both[0].fails_at = 14.0
    first, second = lanes.begin(numbers(0, 16)), lanes.begin(numbers(100, 2))
    for begun in (first, second, first):
        with pytest.raises(RuntimeError, match="this image fails"):
            lanes.finish(begun)
    assert not busy
    assert lanes.finish(lanes.begin(numbers(20, 2))).ravel().tolist() == [40.0, 42.0]


def test_a_batch_that_cannot_begin_leaves_no_lane_busy() -> None:
    busy: list[DoublingLane] = []
    lanes = Lanes([DoublingLane(busy), DoublingLane(busy)], 0)
    first = lanes.begin(numbers(0, 4))
    with pytest.raises(ValueError, match="broadcast"):
        lanes.begin(numbers(0, 101))  # more than the lane's buffer takes
    with pytest.raises(ValueError, match="broadcast"):
        lanes.finish(first)
    assert not busy
