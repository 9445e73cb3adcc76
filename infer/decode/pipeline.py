"""Photos become uint8 batches, decoded ahead of the runner by threads or processes.

They claim a few items at a time from a lazy source and write their pixels into the rows of a few reused buffers (see `ring`).
Memory is therefore bounded for any number of photos, and no more files are open than there are decoders.

`read_ahead` does the same for the Python API and cannot be replaced by this module: there the caller's iterable must be advanced
in the caller's own thread, and each result belongs to the caller. Here threads advance the source, because a source may block (a
network, stdin, a watched folder), and a source can say "nothing more for now", which ends a batch early.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.files.text import as_utf8
from vegrt.infer.decode.crew import Crew, Task, Way
from vegrt.infer.decode.item import Item
from vegrt.infer.decode.pace import Pace
from vegrt.infer.decode.ring import Slot
from vegrt.machine import available_cores
from vegrt.photo.contract import Contract


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive photos of a list.

    indices: positions of the readable ones in the list. images: (N, H, W, 3) uint8 RGB, N = len(indices).
    errors: position and reason of each unreadable one.
    """

    indices: list[int]
    images: NDArray[np.uint8]
    errors: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Decoded:
    """Consecutive items of a source.

    items: all of them, in order. readable: positions, among them, of the N that are photos. images: (N, H, W, 3) uint8 RGB; the
    pipeline owns and overwrites them when the next batch is requested. errors: position -> reason why it is unreadable.
    """

    items: list[Item]
    readable: list[int]
    images: NDArray[np.uint8]
    errors: dict[int, str]


def batches(paths: Sequence[Path], contract: Contract, batch_size: int) -> Iterator[Batch]:
    """Yield all photos in order, `batch_size` at a time, in arrays that the caller may keep."""
    start = 0
    items = (Item(as_utf8(path), path) for path in paths)
    for part in stream(items, contract, batch_size):
        errors = [(start + position, reason) for position, reason in part.errors.items()]
        yield Batch([start + position for position in part.readable], part.images.copy(), errors)
        start += len(part.items)


class Stream(Iterator[Decoded]):
    """The batches of `stream`. `close` ends the decoders; so does the last batch."""

    def __init__(self, crew: Crew) -> None:
        self._crew, self._batches = crew, _batches(crew)

    def __next__(self) -> Decoded:
        return next(self._batches)

    def is_ready(self) -> bool:
        """Return whether the next batch, or the end, comes without waiting."""
        return self._crew.ring.is_ready()

    def close(self) -> None:
        """End the decoders. May be called again."""
        self._batches.close()
        self._crew.close()  # where no batch was taken


def stream(
    items: Iterable[Item | None],
    contract: Contract,
    batch_size: int,
    *,
    way: Way = "threads",
    workers: int = 0,
    keep: bool = False,
) -> Stream:
    """Return all items in order, `batch_size` at a time, in reused buffers (see Decoded).

    items: advanced by the decode threads as buffers become free; None among them means: nothing more for now, so that a short
    batch is yielded. An exception of `items` is raised after the batches before it. way: who decodes files (see Way). workers:
    number of decode threads or processes; 0 for one per core that this process may use. keep: whether items keep fetched or
    unpacked content for later use; otherwise only paths are kept. Raises VegrtError for a decode process that died.
    """
    return Stream(Crew(items, Task(contract, batch_size, keep), way, workers or available_cores()))


def _batches(crew: Crew) -> Generator[Decoded, None, None]:
    ring, pace = crew.ring, Pace()
    try:
        crew.start()
        while True:
            before = time.perf_counter()
            if (slot := ring.take()) is None:
                break
            waited_s = time.perf_counter() - before
            yield _decoded(slot)
            ring.give_back(slot)
            if (window := pace.note(waited_s, len(slot.items), ring.source_s)) is not None:
                crew.consider(window, has_files=any(isinstance(item.content, Path) for item in slot.items))
    finally:
        crew.close()


def _decoded(slot: Slot) -> Decoded:
    count = len(slot.items)
    readable = [row for row in range(count) if row not in slot.errors] if slot.errors else list(range(count))
    images = slot.buffer[readable] if slot.errors else slot.buffer[:count]
    return Decoded(slot.items, readable, images, dict(sorted(slot.errors.items())))
