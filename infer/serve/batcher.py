"""Batches requests: one thread feeds the runner, and each request gets exactly the rows of its own images.

The module uses asyncio and the runner, but not HTTP. It counts images in three states: `inside` (admitted and not yet answered,
at most `queue`), `decoding` (admitted, not yet decoded), and `waiting` (for the runner). An incomplete batch waits only while
images are being decoded, so that a single client never waits. A request is admitted once its body has arrived.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.serve.clients import Shares
from vegrt.infer.serve.refusal import Overloaded, Refusal, ShareTaken, TooLarge

log = logging.getLogger(__name__)

Logits = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(slots=True, eq=False)
class Seat:
    """One request's place in the queue: its client and number of images, and whether they are still being decoded."""

    client: str
    images: int = 1
    decoding: bool = True


@dataclass(slots=True, eq=False)
class _Job:
    """One request's images (N, H, W, 3) and the future for its (N, K) logits. taken: number of rows already in a batch."""

    images: Pixels
    future: asyncio.Future[Logits]
    logits: list[Logits] = field(default_factory=list)
    taken: int = 0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows start to stop of a job, in one batch."""

    job: _Job
    start: int
    stop: int


class Batcher:
    """A bounded queue in front of a runner.

    run: maps (N, H, W, 3) uint8 to (N, K) float32; only one thread calls it. client_queue: most images of one client in the
    queue; None for no such limit. on_batch: called with the size of each batch.
    """

    def __init__(
        self,
        run: Callable[[Pixels], Logits],
        *,
        max_batch: int,
        max_delay_s: float,
        queue: int,
        client_queue: int | None = None,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._run, self._on_batch = run, on_batch
        self._max_batch, self._max_delay_s = max_batch, max_delay_s
        self._queue = queue
        self._shares = Shares(min(queue, client_queue or queue))
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._inside = self._decoding = self._waiting = 0
        self._closing = False
        self._buffer: Pixels | None = None
        self._thread = threading.Thread(target=self._work, name="runner", daemon=True)
        self._thread.start()

    @property
    def inside(self) -> int:
        """Return how many images are admitted and not yet answered."""
        return self._inside

    @property
    def waiting(self) -> int:
        """Return how many images wait for the runner."""
        return self._waiting

    @property
    def ready(self) -> bool:
        """Return whether requests are accepted."""
        return self._thread.is_alive() and not self._closing

    @contextmanager
    def admit(self, client: str = "") -> Iterator[Seat]:
        """Hold a place for one image of a client until it is answered.

        Raises Overloaded if the queue is full, ShareTaken if the client's share of it is.
        """
        seat = Seat(client, images=0)
        with self._changed:
            self._claim(seat, 1)
            self._decoding += 1
        try:
            yield seat
        finally:
            with self._changed:
                self._inside -= seat.images
                self._shares.give_back(client, seat.images)
                self._finish_decoding(seat)

    def check_room(self, client: str = "") -> None:
        """Raise Overloaded or ShareTaken if there is no place now, before the client sends its body."""
        with self._changed:
            self._check(client, 1)

    async def logits(self, seat: Seat, images: Pixels) -> Logits:
        """Return the (N, K) logits of a request's (N, H, W, 3) images. Raises TooLarge, Overloaded, or the runner's exception."""
        if len(images) > self._shares.limit:
            raise TooLarge(f"{len(images)} images in one request; expected at most {self._shares.limit}")
        job = _Job(images, asyncio.get_running_loop().create_future())
        with self._changed:
            self._claim(seat, len(images) - seat.images)
            self._jobs.append(job)
            self._waiting += len(images)
            self._finish_decoding(seat)
            # otherwise the thread keeps waiting for a full batch
            if len(self._jobs) == 1 or self._waiting >= self._max_batch:
                self._changed.notify()
        return await job.future

    def close(self) -> None:
        """Answer waiting requests, then stop the thread. Later requests are refused."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _claim(self, seat: Seat, images: int) -> None:
        """Admit `images` more images. The caller holds the lock."""
        self._check(seat.client, images)
        self._inside += images
        self._shares.take(seat.client, images)
        seat.images += images

    def _check(self, client: str, images: int) -> None:
        if self._closing:
            raise Overloaded("the service is shutting down")
        if self._inside + images > self._queue:
            raise Overloaded(f"the queue is full ({self._inside} of {self._queue} images); try again soon")
        if not self._shares.has_room(client, images):
            held = f"{self._shares.held(client)} of {self._shares.limit} images"
            raise ShareTaken(f"this client's share of the queue is full ({held}); try again soon")

    def _finish_decoding(self, seat: Seat) -> None:
        """Record that a request's images are decoded; if no others are, the batch is complete. The caller holds the lock."""
        if seat.decoding:
            seat.decoding = False
            self._decoding -= 1
            if not self._decoding:
                self._changed.notify()

    def _work(self) -> None:
        while parts := self._next_parts():
            rows = None
            try:
                rows = self._run(self._gather(parts))
            except Exception:
                log.exception("the runner failed on a batch")
            _deliver(parts, rows)

    def _next_parts(self) -> list[_Part]:
        """Wait for images and return the rows of the next batch, by job; none if closed and empty."""
        with self._changed:
            while True:
                while not self._jobs and not self._closing:
                    self._changed.wait()
                deadline = time.monotonic() + self._max_delay_s
                while self._waiting < self._max_batch and self._decoding and not self._closing:
                    if (remaining := deadline - time.monotonic()) <= 0:
                        break
                    self._changed.wait(remaining)
                if (parts := self._take()) or self._closing:
                    return parts

    def _take(self) -> list[_Part]:
        parts: list[_Part] = []
        room = self._max_batch
        while self._jobs and room:
            job = self._jobs[0]
            if job.future.done():  # its request timed out
                self._waiting -= len(job.images) - job.taken
                self._jobs.popleft()
                continue
            start = job.taken
            job.taken = min(len(job.images), start + room)
            room -= job.taken - start
            self._waiting -= job.taken - start
            parts.append(_Part(job, start, job.taken))
            if job.taken == len(job.images):
                self._jobs.popleft()
        return parts

    def _gather(self, parts: list[_Part]) -> Pixels:
        """Return the batch as one array: a single part without a copy, several copied into a reused buffer."""
        size = sum(part.stop - part.start for part in parts)
        self._on_batch(size)
        if len(parts) == 1:
            return parts[0].job.images[parts[0].start : parts[0].stop]
        if self._buffer is None:
            self._buffer = np.empty((self._max_batch, *parts[0].job.images.shape[1:]), np.uint8)
        row = 0
        for part in parts:
            self._buffer[row : row + part.stop - part.start] = part.job.images[part.start : part.stop]
            row += part.stop - part.start
        return self._buffer[:row]


def _deliver(parts: list[_Part], rows: Logits | None) -> None:
    """Give each job its rows, and wake each event loop once for all completed jobs. rows: (N, K) logits; None after a failure."""
    complete: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    row = 0
    for part in parts:
        count = part.stop - part.start
        if rows is None:
            part.job.failed = True
        else:
            part.job.logits.append(rows[row : row + count].copy())  # a runner may reuse its output buffer
        row += count
        if part.stop == len(part.job.images):
            complete.setdefault(part.job.future.get_loop(), []).append(part.job)
    for loop, jobs in complete.items():
        try:
            loop.call_soon_threadsafe(_resolve, jobs)
        except RuntimeError:  # the loop is closed: there are no clients
            log.warning("%d results were computed after the service had stopped", len(jobs))


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():  # its request timed out
            continue
        if job.failed:
            job.future.set_exception(Refusal("the runner failed; see the service's log", 500))
        else:
            job.future.set_result(job.logits[0] if len(job.logits) == 1 else np.concatenate(job.logits))
