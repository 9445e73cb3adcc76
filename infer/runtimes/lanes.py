"""Run a batch through several buffers in turn, so that one is copied while another is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator


def parts(count: int, largest: int) -> Iterator[slice]:
    """Yield slices that cover 0 to `count` in order, each of `largest` or, the last, fewer."""
    for start in range(0, count, largest):
        yield slice(start, min(start + largest, count))


def in_turn(
    count: int, largest: int, lanes: int, begin: Callable[[int, slice], None], finish: Callable[[int, slice], None]
) -> None:
    """Call begin(lane, part) and later finish(lane, part) for every part of `count` images.

    Lanes take turns. A lane is finished just before it begins again, so that up to `lanes` parts are in progress. Parts
    finish in order. When a call fails, the parts in progress are not finished.
    """
    running: deque[tuple[int, slice]] = deque()
    for number, part in enumerate(parts(count, largest)):
        if len(running) == lanes:
            finish(*running.popleft())
        begin(number % lanes, part)
        running.append((number % lanes, part))
    while running:
        finish(*running.popleft())
