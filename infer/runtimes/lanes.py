"""Pass batches through lanes in turn, so that one batch is copied while another is computed, also from call to call.

A lane is whatever works by itself on a batch: a CUDA stream with its buffers, or a thread with its binding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Lane(Protocol):
    """Works on one batch at a time."""

    def begin(self, images: NDArray[np.uint8]) -> None:
        """Begin to compute a batch. The images are copied before this returns."""
        ...

    def finish(self, count: int) -> NDArray[np.float32]:
        """Return the (N, K) logits of what was begun, N = count; the next `begin` may overwrite them."""
        ...

    def settle(self) -> None:
        """Wait until nothing is in progress, and ignore a failure."""
        ...


@dataclass(slots=True, eq=False)
class Begun:
    """A batch in progress. rows: the logits of its finished parts, in order. parts_left: those that are not finished."""

    rows: list[NDArray[np.float32]] = field(default_factory=list)
    parts_left: int = 0
    failure: Exception | None = None


class Lanes:
    """Lanes that take turns. Batches finish in the order in which they began. Not thread-safe.

    largest: images that a lane takes at once; 0 for any number. A larger batch passes through in parts. columns: K of the logits
    of no images.
    """

    def __init__(self, lanes: Sequence[Lane], largest: int, *, columns: int = 0) -> None:
        self._lanes, self._largest, self._columns = lanes, largest, columns
        self._turn = 0
        self._running: deque[tuple[Lane, int, Begun]] = deque()  # lane, number of images, the batch that they belong to

    def __len__(self) -> int:
        """Return the number of batches that can be in progress at once."""
        return len(self._lanes)

    def begin(self, images: NDArray[np.uint8]) -> Begun:
        """Begin to compute any number of images; they are copied before this returns. Waits while all lanes are busy.

        When anything fails, all that is in progress fails with it, and the lanes can be used anew.
        """
        begun = Begun()
        for part in parts(len(images), self._largest or len(images)):
            if len(self._running) == len(self._lanes):
                self._finish_oldest()
            lane = self._lanes[self._turn]
            self._turn = (self._turn + 1) % len(self._lanes)
            begun.parts_left += 1
            self._running.append((lane, part.stop - part.start, begun))
            try:
                lane.begin(images[part])
            except Exception as error:
                self._give_up(error)
                raise
        return begun

    def finish(self, begun: Begun) -> NDArray[np.float32]:
        """Return the (N, K) logits of a batch that was begun, in an array of the caller's own.

        Raises what failed in it, or in a batch beside it.
        """
        while begun.parts_left and begun.failure is None:
            self._finish_oldest()
        if begun.failure is not None:
            raise begun.failure
        if not begun.rows:
            return np.empty((0, self._columns), np.float32)
        return begun.rows[0] if len(begun.rows) == 1 else np.concatenate(begun.rows)

    def settle(self) -> None:
        """Finish all that is in progress. Raises what failed."""
        while self._running:
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        lane, count, begun = self._running[0]
        try:
            begun.rows.append(lane.finish(count).copy())
        except Exception as error:
            self._give_up(error)
            raise
        begun.parts_left -= 1
        self._running.popleft()

    def _give_up(self, error: Exception) -> None:
        for lane in self._lanes:  # what is on its way still reads and writes the buffers that the next batch fills
            lane.settle()
        for _, _, begun in self._running:
            begun.failure = error
        self._running.clear()


def parts(count: int, largest: int) -> Iterator[slice]:
    """Yield slices that cover 0 to `count` in order, each of `largest` or, the last, fewer."""
    for start in range(0, count, max(1, largest)):
        yield slice(start, min(start + largest, count))
