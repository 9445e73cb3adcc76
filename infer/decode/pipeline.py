"""Decode threads ahead of the runner: photos become uint8 batches while the runner computes the previous batch.

The threads take one item at a time from a lazy source and write its pixels into the rows of three reused buffers. Memory is
therefore bounded for any number of photos, and no more files are open than there are threads.

`read_ahead` does the same for the Python API and cannot be replaced by this module: there the caller's iterable must be advanced
in the caller's own thread, and each result belongs to the caller. Here the decode threads advance the source, because a source
may block (a network, stdin, a watched folder), and a source can say "nothing more for now", which ends a batch early.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vegrt.errors import DataError
from vegrt.files.text import as_utf8
from vegrt.infer.decode.item import Item, fetched
from vegrt.machine import available_cores
from vegrt.photo.preprocess import Contract, load_image, prepare

BUFFERS = 3  # one at the runner, one ready, one being filled
LEAVE_S = 2.0  # longest wait at the end for all threads that block on a network or a pipe


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
    """The batches of `stream`. `close` ends the decode threads; so does the last batch."""

    def __init__(self, ring: _Ring, threads: int) -> None:
        self._ring, self._batches = ring, _batches(ring, threads)

    def __next__(self) -> Decoded:
        return next(self._batches)

    def is_ready(self) -> bool:
        """Return whether the next batch, or the end, comes without waiting."""
        return self._ring.is_ready()

    def close(self) -> None:
        """End the decode threads. May be called again."""
        self._batches.close()


def stream(
    items: Iterable[Item | None], contract: Contract, batch_size: int, *, threads: int = 0, keep: bool = False
) -> Stream:
    """Return all items in order, `batch_size` at a time, in reused buffers (see Decoded).

    items: taken one by one, by the decode threads, as buffers become free; None among them means: nothing
    more for now, so that a short batch is yielded. An exception of `items` is raised after the batches before it. threads: number
    of decode threads; 0 for one per core that this process may use. keep: whether items keep fetched or unpacked content for
    later use; otherwise only paths are kept.
    """
    return Stream(_Ring(iter(items), contract, batch_size, keep), threads or available_cores())


def _batches(ring: _Ring, threads: int) -> Generator[Decoded, None, None]:
    workers = [threading.Thread(target=ring.work, name=f"decode-{i}", daemon=True) for i in range(threads)]
    for worker in workers:
        worker.start()
    try:
        while (slot := ring.take()) is not None:
            yield slot.decoded()
            ring.give_back(slot)
    finally:
        ring.stop()
        deadline = time.monotonic() + LEAVE_S
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))


def _pixels(name: str, content: Path | bytes | NDArray[np.uint8], contract: Contract) -> NDArray[np.uint8]:
    if isinstance(content, np.ndarray):
        return prepare(Image.fromarray(content), contract)
    return load_image(content, contract, name)


@dataclass(slots=True)
class _Slot:
    """A buffer of rows (B, H, W, 3) and its items. pending: rows that are still being decoded."""

    buffer: NDArray[np.uint8]
    items: list[Item] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    pending: int = 0
    closed: bool = False
    failure: BaseException | None = None

    def decoded(self) -> Decoded:
        count = len(self.items)
        readable = [row for row in range(count) if row not in self.errors] if self.errors else list(range(count))
        images = self.buffer[readable] if self.errors else self.buffer[:count]
        return Decoded(self.items, readable, images, dict(sorted(self.errors.items())))


class _Ring:
    """The slots. A thread writes only the row that it claimed; the consumer reads only a slot that is closed and decoded."""

    def __init__(self, items: Iterator[Item | None], contract: Contract, batch_size: int, keep: bool) -> None:
        self._items, self._contract, self._batch_size, self._keep = items, contract, batch_size, keep
        shape = (batch_size, contract.size, contract.size, 3)
        self._free = deque(np.empty(shape, np.uint8) for _ in range(BUFFERS))
        self._filled: deque[_Slot] = deque()  # in order; the last may still be open
        self._claiming = threading.Lock()  # held while the source gives its next item
        self._changed = threading.Condition()
        self._ended = False
        self._failure: BaseException | None = None

    def take(self) -> _Slot | None:
        """Return the next decoded slot; None after the last. Raises the source's exception."""
        with self._changed:
            self._changed.wait_for(self._is_ready)
            slot = self._filled.popleft() if self._filled else None
        failure = slot.failure if slot else self._failure
        if failure is not None:
            raise failure
        return slot

    def is_ready(self) -> bool:
        """Return whether `take` returns without waiting."""
        with self._changed:
            return self._is_ready()

    def give_back(self, slot: _Slot) -> None:
        with self._changed:
            self._free.append(slot.buffer)
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def work(self) -> None:
        """Decode item after item until the source has ended: the body of a decode thread."""
        while (claim := self._claim()) is not None:
            slot, row = claim
            reason: str | None = None
            failure: BaseException | None = None
            try:
                item = slot.items[row]
                content = fetched(item)
                slot.buffer[row] = _pixels(item.name, content, self._contract)
                if not isinstance(content, Path):
                    slot.items[row] = Item(item.name, content if self._keep else b"")
            except DataError as error:
                reason = (
                    str(error).encode("utf-8", "backslashreplace").decode()
                )  # it may name a file in bytes that are not UTF-8
            except BaseException as error:  # a fault of the program: raised in the consumer's thread
                failure = error
            self._finish_row(slot, row, reason, failure)

    def _claim(self) -> tuple[_Slot, int] | None:
        """Return a slot and the row to fill with its item; None when nothing is left."""
        with self._claiming:
            while (slot := self._open_slot()) is not None:
                try:
                    item = next(self._items)
                except BaseException as error:
                    self._end(None if isinstance(error, StopIteration) else error)
                    return None
                with self._changed:
                    if item is not None:
                        slot.items.append(item)
                        slot.pending += 1
                    slot.closed = len(slot.items) == self._batch_size or (item is None and bool(slot.items))
                    if slot.closed:
                        self._changed.notify_all()
                    if item is not None:
                        return slot, len(slot.items) - 1
        return None

    def _open_slot(self) -> _Slot | None:
        """Return the slot that is being filled, a new one once a buffer is free; None at the end."""
        with self._changed:
            if not (self._filled and not self._filled[-1].closed):
                self._changed.wait_for(lambda: self._free or self._ended)
                if not self._ended:
                    self._filled.append(_Slot(self._free.popleft()))
            return None if self._ended else self._filled[-1]

    def _end(self, failure: BaseException | None) -> None:
        with self._changed:
            self._ended, self._failure = True, failure
            if self._filled and not self._filled[-1].items:
                self._filled.pop()
            elif self._filled:
                self._filled[-1].closed = True
            self._changed.notify_all()

    def _finish_row(self, slot: _Slot, row: int, reason: str | None, failure: BaseException | None) -> None:
        with self._changed:
            slot.pending -= 1
            slot.failure = slot.failure or failure
            if reason is not None:
                slot.errors[row] = reason
            if slot.closed and not slot.pending:
                self._changed.notify_all()

    def _is_ready(self) -> bool:
        first = self._filled[0] if self._filled else None
        return (first.closed and not first.pending) if first else self._ended
