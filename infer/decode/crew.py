"""Who fills the ring: threads of this process, worker processes, or threads at first and processes once threads fall short."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from vegrt.errors import VegrtError
from vegrt.infer.decode.item import Item
from vegrt.infer.decode.local import decode_rows
from vegrt.infer.decode.pace import FEWEST_CORES, Window, has_lock
from vegrt.infer.decode.ring import Ring, Run
from vegrt.infer.decode.shared_buffers import SharedBuffers, can_share
from vegrt.machine import usable_cores
from vegrt.photo.contract import Contract

if TYPE_CHECKING:
    from vegrt.infer.decode.processes import RemoteDecoder, Workers

log = logging.getLogger(__name__)

# auto: threads, and processes as soon as the consumer waits for photos although cores are idle
Way = Literal["auto", "threads", "processes"]
BUFFERS = 3  # one at the runner, one ready, one being filled
CALLERS = 2  # threads per worker process, so that its next run is there when it has decoded one
LONGEST_RUN = 8  # photos that a thread claims at once
LONGEST_REMOTE_RUN = 16  # and a process, whose threads wake up for each
LEAVE_S = 2.0  # longest wait at the end for all threads that block on a network or a pipe


@dataclass(frozen=True, slots=True)
class Task:
    """What a crew does for every photo. keep: whether items keep fetched or unpacked content; otherwise only paths are kept."""

    contract: Contract
    batch_size: int
    keep: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of a buffer, (B, H, W, 3)."""
        return (self.batch_size, *self.contract.shape)


class Crew:
    """The decoders of one stream of photos: `count` threads or processes. ring: what they fill."""

    def __init__(self, items: Iterable[Item | None], task: Task, way: Way, count: int) -> None:
        """Make the buffers. Raises VegrtError where processes are asked for and memory cannot be shared."""
        self._task, self._way, self._count = task, way, count
        self._cores = min(usable_cores(), float(count))  # that can decode
        self._threads: list[threading.Thread] = []
        self._processes_ready, self._closing = threading.Event(), False
        self._may_change = way == "auto" and self._cores >= FEWEST_CORES and can_share()
        self._shared: SharedBuffers | None = None
        self._workers: Workers | None = None
        if way == "processes" or self._may_change:
            self._shared = SharedBuffers(buffers_for(task.batch_size, count), task.shape)
        if way == "processes" and self._shared:
            self.ring = Ring(items, self._shared.arrays, LONGEST_REMOTE_RUN)
        else:
            buffers = self._shared.arrays[:BUFFERS] if self._shared else np.empty((BUFFERS, *task.shape), np.uint8)
            self.ring = Ring(items, buffers, min(LONGEST_RUN, -(-task.batch_size // count)))

    def start(self) -> None:
        """Start to decode. Raises VegrtError for processes that cannot be started."""
        if self._way == "processes":
            self._start_workers()
            return
        for _ in range(self._count):
            self._start(self._decode_here)

    def consider(self, window: Window, *, has_files: bool) -> None:
        """Go over to processes if threads fell short in this window. has_files: whether the last batch had files in it."""
        if not (self._may_change and has_files) or self.ring.paused or not (reason := window.shortfall(self._cores)):
            return
        self._may_change = False
        if not has_lock():
            log.info("%s; processes would not help: this Python has no lock", reason)
            return
        try:
            shared = self._start_workers()
        except VegrtError as error:
            log.warning("%s; decoding stays in threads", error)
            return
        self.ring.widen(shared.arrays[BUFFERS:], LONGEST_REMOTE_RUN)
        log.info("%s; from now on %d processes decode", reason, self._count)

    def close(self) -> None:
        """End all threads and processes. May be called again."""
        self._closing = True
        self.ring.stop()
        if self._workers:
            self._workers.close()
        deadline = time.monotonic() + LEAVE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._shared:
            self._shared.close()

    def _start(self, body: Callable[..., None], *arguments: object) -> None:
        name = f"decode-{len(self._threads)}"
        self._threads.append(threading.Thread(target=body, args=arguments, name=name, daemon=True))
        self._threads[-1].start()

    def _start_workers(self) -> SharedBuffers:
        from vegrt.infer.decode.processes import Workers

        assert self._shared is not None, "made where processes may be started"
        self._workers = Workers(self._count, CALLERS, self._shared, self._task.contract, keep=self._task.keep)
        for decoder in self._workers.decoders:
            self._start(self._decode_there, decoder)
        return self._shared

    def _decode_here(self) -> None:
        """Decode in this thread until the source has ended, or the processes are ready."""
        contract, keep = self._task.contract, self._task.keep
        while not self._processes_ready.is_set() and (run := self.ring.claim()) is not None:
            self._do(run, lambda run: decode_rows(run, run.rows, contract, keep=keep))

    def _decode_there(self, decoder: RemoteDecoder) -> None:
        """Have a process decode until the source has ended."""
        try:
            decoder.wait_until_ready()
        except VegrtError as error:
            if self._way == "processes":
                self.ring.end(error)
            elif not self._closing:
                log.warning("%s; the others decode", error)
            return
        self._processes_ready.set()
        while (run := self.ring.claim()) is not None:
            self._do(run, decoder.decode)

    def _do(self, run: Run, decode: Callable[[Run], dict[int, str]]) -> None:
        try:
            self.ring.finish(run, decode(run))
        except BaseException as failure:  # a fault of the program: raised in the consumer's thread
            self.ring.finish(run, {}, failure)


def buffers_for(batch_size: int, processes: int) -> int:
    """Return how many buffers keep so many processes busy while the consumer has one and another is ready."""
    rows = CALLERS * processes * min(LONGEST_REMOTE_RUN, batch_size)
    return max(BUFFERS, 2 - (-rows // batch_size))
