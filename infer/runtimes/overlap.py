"""Runners that work on several batches at once, and the answers of a stream of batches by them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.runtimes.lanes import Begun, Lanes
from vegrt.infer.runtimes.runner import Answers, BundleRunner, OverlappingRunner

Batch = TypeVar("Batch")


class LanesRunner:
    """What runners of several lanes share: they begin a batch, and finish it later. _turns: the lanes."""

    _turns: Lanes

    def begin(self, images: NDArray[np.uint8]) -> Begun:
        """Begin to answer (N, H, W, 3) uint8 RGB images; they are copied before this returns."""
        return self._turns.begin(images)

    def finish(self, begun: Begun) -> Answers:
        """Return the logits of what was begun. Raises ModelError when it cannot run on it, EngineError when the GPU fails."""
        return Answers(self._turns.finish(begun))

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        """Return the answers to any number of images; raises as `begin` and `finish`."""
        return self.finish(self.begin(images))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images; raises as `answers`."""
        return self.answers(images).logits


def answered(
    runner: BundleRunner,
    batches: Iterator[Batch],
    images_of: Callable[[Batch], NDArray[np.uint8] | None],
    is_ready: Callable[[], bool],
) -> Iterator[tuple[Batch, Answers | None]]:
    """Yield each batch with its answers, in order; up to `runner.lanes` batches are in progress where the runner can.

    images_of: a batch's (N, H, W, 3) uint8 RGB images; None for a batch without any, which gets None. They may be overwritten
    when the next batch is taken. is_ready: whether `batches` gives its next item without waiting; as long as it does not, what is
    in progress is finished, so that an answer never waits for a photo that comes later.
    """
    if not isinstance(runner, OverlappingRunner):
        for batch in batches:
            images = images_of(batch)
            yield batch, None if images is None else runner.answers(images)
        return
    running: deque[tuple[Batch, Begun | None]] = deque()
    failure: Exception | None = None
    while failure is None:
        while running and (len(running) == runner.lanes or not is_ready()):
            batch, begun = running.popleft()
            yield batch, None if begun is None else runner.finish(begun)
        try:
            batch = next(batches)
        except StopIteration:
            break
        except Exception as error:  # raised after the batches before it
            failure = error
            continue
        images = images_of(batch)
        running.append((batch, None if images is None else runner.begin(images)))
    for batch, begun in running:
        yield batch, None if begun is None else runner.finish(begun)
    if failure is not None:
        raise failure
