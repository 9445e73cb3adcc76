"""Which batch sizes get a CUDA graph, and which lose theirs."""

from __future__ import annotations

from vegrt.infer.runtimes.tensorrt.graphs import CapturedGraph, GraphCache


class Captures:
    """Captures graphs that are their batch size, and notes the order."""

    def __init__(self, *, impossible: int = 0) -> None:
        self.captured: list[int] = []
        self.destroyed: list[int] = []
        self.impossible = impossible

    def capture(self, batch: int) -> CapturedGraph | None:
        self.captured.append(batch)
        return None if batch == self.impossible else CapturedGraph(batch, None)

    def destroy(self, captured: CapturedGraph) -> None:
        self.destroyed.append(captured.graph)


def graphs_of(cache: GraphCache, sizes: list[int]) -> list[int | None]:
    return [captured.graph if (captured := cache.find(size)) else None for size in sizes]


def test_a_size_gets_its_graph_when_it_comes_again() -> None:
    captures = Captures()
    cache = GraphCache(captures.capture, captures.destroy)
    assert graphs_of(cache, [16, 16, 16, 5]) == [None, 16, 16, None]
    assert captures.captured == [16]


def test_the_least_recently_used_graph_is_given_up_and_has_to_come_twice_again() -> None:
    captures = Captures()
    cache = GraphCache(captures.capture, captures.destroy, limit=2)
    graphs_of(cache, [1, 1, 2, 2, 1, 3, 3])
    assert captures.destroyed == [2]
    assert graphs_of(cache, [1, 3, 2, 2]) == [1, 3, None, 2]
    assert captures.destroyed == [2, 1]


def test_what_was_prepared_is_kept_and_never_captured_again() -> None:
    captures = Captures()
    cache = GraphCache(captures.capture, captures.destroy, limit=1)
    for batch in (1, 4, 16):
        cache.prepare(batch)
    assert captures.captured == [1, 4, 16]
    graphs_of(cache, [7, 7, 8, 8])
    assert graphs_of(cache, [1, 4, 16, 1]) == [1, 4, 16, 1]
    assert captures.captured == [1, 4, 16, 7, 8]
    assert captures.destroyed == [7]


def test_a_size_without_a_graph_is_not_tried_again() -> None:
    captures = Captures(impossible=16)
    cache = GraphCache(captures.capture, captures.destroy)
    cache.prepare(16)
    assert graphs_of(cache, [16, 16]) == [None, None]
    cache.clear()
    assert captures.captured == [16]
    assert captures.destroyed == []


def test_all_graphs_are_destroyed_at_the_end() -> None:
    captures = Captures()
    cache = GraphCache(captures.capture, captures.destroy)
    graphs_of(cache, [1, 1, 2, 2])
    cache.prepare(3)
    cache.clear()
    assert sorted(captures.destroyed) == [1, 2, 3]
