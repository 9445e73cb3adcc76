"""Answer a stream of batches with a runner that works on several at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.runtimes.lanes import Begun
from vegrt.infer.runtimes.runner import Answers, BundleRunner, OverlappingRunner

Batch = TypeVar("Batch")


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
