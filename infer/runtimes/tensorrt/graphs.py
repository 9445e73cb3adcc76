"""Which batch sizes of a lane have a CUDA graph: those that come again, a bounded number, the most recently used ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LIMIT = (
    8  # graphs per lane that are captured unasked; each keeps an execution context, without scratch memory of its own
)


@dataclass(frozen=True, slots=True)
class CapturedGraph:
    """A CUDA graph, and the execution context whose work it repeats: with another shape of that, the graph would be undefined."""

    graph: Any
    context: Any


class GraphCache:
    """The graphs of one lane by batch size. A size for which none could be captured has None, and is not tried again.

    capture: returns the graph of a batch size, or None where there can be none. destroy: releases it.
    """

    def __init__(
        self,
        capture: Callable[[int], CapturedGraph | None],
        destroy: Callable[[CapturedGraph], None],
        *,
        limit: int = LIMIT,
    ) -> None:
        self._capture, self._destroy, self._limit = capture, destroy, limit
        self._graphs: OrderedDict[int, CapturedGraph | None] = OrderedDict()
        self._prepared: set[int] = set()
        self._sizes: set[int] = set()  # that came once

    def find(self, batch: int) -> CapturedGraph | None:
        """Return the graph of a batch size; it is captured when the size comes again: the last batch of a run seldom does."""
        if batch in self._graphs:
            self._graphs.move_to_end(batch)
            return self._graphs[batch]
        if batch not in self._sizes:
            self._sizes.add(batch)
            return None
        return self._add(batch)

    def prepare(self, batch: int) -> None:
        """Capture the graph of a batch size now, and keep it whatever else comes: nothing is captured for it later."""
        self._prepared.add(batch)
        if batch not in self._graphs:
            self._add(batch)

    def clear(self) -> None:
        """Give up all graphs. They must not be running."""
        while self._graphs:
            self._drop(next(iter(self._graphs)))

    def _add(self, batch: int) -> CapturedGraph | None:
        unasked = [size for size in self._graphs if size not in self._prepared]
        if batch not in self._prepared and len(unasked) >= self._limit:
            self._drop(unasked[0])
        self._graphs[batch] = graph = self._capture(batch)
        return graph

    def _drop(self, batch: int) -> None:
        graph = self._graphs.pop(batch)
        self._sizes.discard(batch)  # has to come twice again: many sizes in turn would be captured each time
        if graph is not None:
            self._destroy(graph)
