"""How images pass through the buffers: every image once, in order, and no buffer is filled while it is in use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vegrt.infer.runtimes.lanes import in_turn, parts


@given(count=st.integers(0, 200), largest=st.integers(1, 40))
def test_parts_cover_everything_in_order(count: int, largest: int) -> None:
    found = list(parts(count, largest))
    assert [index for part in found for index in range(count)[part]] == list(range(count))
    assert all(part.stop - part.start == largest for part in found[:-1])
    assert all(0 < part.stop - part.start <= largest for part in found[-1:])


@given(count=st.integers(0, 200), largest=st.integers(1, 40), lanes=st.integers(1, 4))
def test_a_lane_is_finished_before_it_begins_anew_and_all_lanes_are_used(count: int, largest: int, lanes: int) -> None:
    busy: dict[int, slice] = {}
    done: list[int] = []
    most = 0

    def begin(lane: int, part: slice) -> None:
        nonlocal most
        assert lane not in busy
        assert lane in range(lanes)
        busy[lane] = part
        most = max(most, len(busy))

    def finish(lane: int, part: slice) -> None:
        assert busy.pop(lane) == part
        done.extend(range(part.start, part.stop))

    in_turn(count, largest, lanes, begin, finish)
    assert not busy
    assert done == list(range(count))
    assert most == min(lanes, -(-count // largest))


def test_after_a_failure_nothing_more_begins() -> None:
    begun: list[slice] = []

    def begin(lane: int, part: slice) -> None:
        begun.append(part)
        if len(begun) == 3:
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        in_turn(100, 10, 2, begin, lambda lane, part: None)
    assert len(begun) == 3
