"""Photos become uint8 batches, decoded ahead of the runner by threads.

The threads claim a few items at a time from a lazy source and write their pixels into the rows of three reused buffers (see `ring`).
Memory is therefore bounded for any number of photos, and no more files are open than there are threads.

`read_ahead` does the same for the Python API and cannot be replaced by this module: there the caller's iterable must be advanced
in the caller's own thread, and each result belongs to the caller. Here the decode threads advance the source, because a source
may block (a network, stdin, a watched folder), and a source can say "nothing more for now", which ends a batch early.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.files.text import as_utf8
from vegrt.infer.decode.item import Item
from vegrt.infer.decode.local import decode_rows
from vegrt.infer.decode.ring import Ring, Run, Slot
from vegrt.machine import available_cores
from vegrt.photo.preprocess import Contract

BUFFERS = 3  # one at the runner, one ready, one being filled
_LONGEST_RUN = 8  # photos that a decoder claims at once
_LEAVE_S = 2.0  # longest wait at the end for all threads that block on a network or a pipe


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


def stream(
    items: Iterable[Item | None], contract: Contract, batch_size: int, *, workers: int = 0, keep: bool = False
) -> Generator[Decoded, None, None]:
    """Yield all items in order, `batch_size` at a time, in reused buffers (see Decoded).

    items: advanced by the decode threads as buffers become free; None among them means: nothing more for now, so that a short
    batch is yielded. An exception of `items` is raised after the batches before it. workers: number of decode threads; 0 for one
    per core that this process may use. keep: whether items keep fetched or unpacked content for later use; otherwise only paths
    are kept.
    """
    count = workers or available_cores()
    shape = (batch_size, contract.size, contract.size, 3)
    ring = Ring(items, [np.empty(shape, np.uint8) for _ in range(BUFFERS)], min(_LONGEST_RUN, -(-batch_size // count)))

    def decode(run: Run) -> dict[int, str]:
        return decode_rows(run, run.rows, contract, keep=keep)

    threads = [
        threading.Thread(target=_work, args=(ring, decode), name=f"decode-{i}", daemon=True) for i in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        while (slot := ring.take()) is not None:
            yield _decoded(slot)
            ring.give_back(slot)
    finally:
        ring.stop()
        deadline = time.monotonic() + _LEAVE_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _work(ring: Ring, decode: Callable[[Run], dict[int, str]]) -> None:
    """Decode run after run until the source has ended: the body of a thread."""
    while (run := ring.claim()) is not None:
        try:
            ring.finish(run, decode(run))
        except BaseException as failure:  # a fault of the program: raised in the consumer's thread
            ring.finish(run, {}, failure)


def _decoded(slot: Slot) -> Decoded:
    count = len(slot.items)
    readable = [row for row in range(count) if row not in slot.errors] if slot.errors else list(range(count))
    images = slot.buffer[readable] if slot.errors else slot.buffer[:count]
    return Decoded(slot.items, readable, images, dict(sorted(slot.errors.items())))
