"""The ring of reused buffers between those who decode and the one who answers: items in order, memory bounded.

A decoder claims a run: some consecutive items of the source, and as many rows of a buffer. It writes these rows only; the
consumer reads only a slot whose rows have all been claimed and decoded. The decoders advance the source, because a source may
block (a network, stdin, a watched folder); None among its items means: nothing more for now, which ends a batch early.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.decode.item import Item

Buffer: TypeAlias = NDArray[np.uint8]  # (B, H, W, 3)


@dataclass(slots=True)
class Slot:
    """A batch that is being filled. number: of its buffer. errors: row -> why it is no photo. pending: rows being decoded."""

    number: int
    buffer: Buffer
    items: list[Item] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    pending: int = 0
    closed: bool = False
    failure: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """What one decoder has to do next: `count` rows of a slot, from `start`."""

    slot: Slot
    start: int
    count: int

    @property
    def rows(self) -> range:
        """Return the numbers of the rows."""
        return range(self.start, self.start + self.count)


class Ring:
    """The slots. source_s: seconds that decoders have spent in the source. paused: whether it ever had nothing more for now."""

    def __init__(self, items: Iterable[Item | None], buffers: Iterable[Buffer], run_length: int) -> None:
        self._items, self._run_length = iter(items), run_length
        self._free = deque(enumerate(buffers))
        self._batch_size = len(self._free[0][1])
        self._count, self._claimed = len(self._free), 0
        self._filled: deque[Slot] = deque()  # in order; the last may still be open
        self._claiming = threading.Lock()  # held while the source gives the items of a run
        self._changed = threading.Condition(threading.Lock())
        self._ended = False
        self._failure: BaseException | None = None
        self.source_s, self.paused = 0.0, False

    def widen(self, buffers: Iterable[Buffer], run_length: int) -> None:
        """Add buffers, for more decoders than before."""
        with self._changed:
            for buffer in buffers:
                self._free.append((self._count, buffer))
                self._count += 1
            self._run_length = run_length
            self._changed.notify_all()

    def claim(self) -> Run | None:
        """Return the next run; None when nothing is left."""
        with self._claiming:
            while (slot := self._open_slot()) is not None:
                # single items at first: few photos are then spread over all decoders
                length = self._run_length if self._claimed >= self._batch_size else 1
                before = time.perf_counter()
                taken = _take_items(self._items, min(length, self._batch_size - len(slot.items)))
                self.source_s += time.perf_counter() - before
                self._claimed += len(taken.items)
                run = self._add(slot, taken)
                if taken.ended:
                    self.end(taken.failure)
                if run.count:
                    return run
        return None

    def finish(self, run: Run, errors: Mapping[int, str], failure: BaseException | None = None) -> None:
        """Hand a run over. errors: row -> why it is no photo. failure: what `take` raises in place of the run's batch."""
        slot = run.slot
        with self._changed:
            slot.pending -= run.count
            slot.failure = slot.failure or failure
            slot.errors.update(errors)
            if slot.closed and not slot.pending:
                self._changed.notify_all()

    def take(self) -> Slot | None:
        """Return the next slot, decoded; None after the last. Raises what the source raised, and what decoding failed with."""
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

    def give_back(self, slot: Slot) -> None:
        """Let the slot's buffer be filled again."""
        with self._changed:
            self._free.append((slot.number, slot.buffer))
            self._changed.notify_all()

    def stop(self) -> None:
        """Let `claim` return None from now on."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def end(self, failure: BaseException | None) -> None:
        """Claim no more, and let `take` raise the failure after the batches before it."""
        with self._changed:
            self._ended, self._failure = True, failure
            if self._filled and not self._filled[-1].items:
                self._filled.pop()
            elif self._filled:
                self._filled[-1].closed = True
            self._changed.notify_all()

    def _open_slot(self) -> Slot | None:
        """Return the slot that is being filled, a new one once a buffer is free; None at the end."""
        with self._changed:
            if not (self._filled and not self._filled[-1].closed):
                self._changed.wait_for(lambda: self._free or self._ended)
                if not self._ended:
                    self._filled.append(Slot(*self._free.popleft()))
            return None if self._ended else self._filled[-1]

    def _add(self, slot: Slot, taken: _Taken) -> Run:
        with self._changed:
            start = len(slot.items)
            slot.items += taken.items
            slot.pending += len(taken.items)
            slot.closed = len(slot.items) == self._batch_size or (taken.paused and bool(slot.items))
            self.paused = self.paused or taken.paused
            if slot.closed:
                self._changed.notify_all()
        return Run(slot, start, len(taken.items))

    def _is_ready(self) -> bool:
        first = self._filled[0] if self._filled else None
        return (first.closed and not first.pending) if first else self._ended


@dataclass(slots=True)
class _Taken:
    """Items of the source, and why there are no more of them: a pause, or the end. failure: what the source raised."""

    items: list[Item] = field(default_factory=list)
    paused: bool = False
    ended: bool = False
    failure: BaseException | None = None


def _take_items(source: Iterator[Item | None], count: int) -> _Taken:
    """Return the next items, at most `count`."""
    taken = _Taken()
    try:
        while len(taken.items) < count and not taken.paused:
            item = next(source)
            if item is None:
                taken.paused = True
            else:
                taken.items.append(item)
    except StopIteration:
        taken.ended = True
    except BaseException as error:
        taken.ended, taken.failure = True, error
    return taken
