"""The three measures of a benchmark: the runner alone, the runner with copies in and out, and JPEG to label."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.benchmark.inputs import Inputs
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.logits import softmax
from vegrt.infer.runtimes.runner import Runner, prepare_runner
from vegrt.photo.preprocess import decode_for, prepare
from vegrt.results.benchmark import Measure


@dataclass(frozen=True, slots=True)
class Case:
    """A candidate, a batch size and a measure to time."""

    candidate: Candidate
    batch: int
    measure: Measure


@dataclass(frozen=True, slots=True)
class CaseTiming:
    """Seconds of one batch by stage. prepare: resize, crop and copying into the batch. post: see `TimedRunner.copies`."""

    decode_s: float
    prepare_s: float
    run_s: float
    post_s: float

    @property
    def total_s(self) -> float:
        """Return the seconds of all stages together."""
        return self.decode_s + self.prepare_s + self.run_s + self.post_s


class TimedRunner:
    """A runner with buffers for its batches, allocated once. For use by one thread."""

    def __init__(self, runner: Runner, inputs: Inputs, num_classes: int, largest_batch: int) -> None:
        self.device = runner.device
        self._runner, self._inputs = runner, inputs
        self._batch = np.empty((largest_batch, *inputs.pixels.shape[1:]), np.uint8)
        self._probabilities = np.empty((largest_batch, num_classes), np.float32)
        self._labels = np.empty(largest_batch, np.intp)

    def prepare(self, batch: int) -> None:
        """Do what the runner would otherwise do in the first batches of this size: nothing of it may be timed later."""
        prepare_runner(self._runner, batch)

    def time(self, measure: Measure, batch: int, turn: int) -> CaseTiming:
        """Run one batch and return its timing. turn: selects the images of the pool; the same turn selects the same images."""
        if measure == "batches":
            return self.alone(batch)
        return self.copies(batch, turn) if measure == "copies" else self.end_to_end(batch, turn)

    def answers(self, batch: int) -> NDArray[np.intp]:
        """Return the top-1 of the last batch that was timed with copies or from JPEG; a view of `batch` labels."""
        return self._labels[:batch]

    def alone(self, batch: int) -> CaseTiming:
        """Time `logits` of a batch that is ready in memory."""
        images = self._inputs.pixels[:batch]
        start = time.perf_counter()
        self._runner.logits(images)
        return CaseTiming(0.0, 0.0, time.perf_counter() - start, 0.0)

    def copies(self, batch: int, turn: int) -> CaseTiming:
        """Time a batch from separate decoded images in memory to labels.

        prepare: copying each image into the batch buffer. post: softmax, and copying probabilities and top-1 to the caller's
        buffers.
        """
        pool = self._inputs.pixels
        start = time.perf_counter()
        for row in range(batch):
            self._batch[row] = pool[(turn * batch + row) % len(pool)]
        prepared = time.perf_counter()
        return self._finish(batch, 0.0, prepared - start)

    def end_to_end(self, batch: int, turn: int) -> CaseTiming:
        """Time a batch from encoded photos to labels, step by step in one thread, without overlap."""
        photos, contract = self._inputs.photos, self._inputs.contract
        decode_s = prepare_s = 0.0
        for row in range(batch):
            start = time.perf_counter()
            image = decode_for(photos[(turn * batch + row) % len(photos)], contract)
            decoded = time.perf_counter()
            self._batch[row] = prepare(image, contract)
            prepare_s += time.perf_counter() - decoded
            decode_s += decoded - start
        return self._finish(batch, decode_s, prepare_s)

    def _finish(self, batch: int, decode_s: float, prepare_s: float) -> CaseTiming:
        start = time.perf_counter()
        logits = self._runner.logits(self._batch[:batch])
        run = time.perf_counter()
        self._probabilities[:batch] = softmax(logits)
        self._labels[:batch] = self._probabilities[:batch].argmax(axis=1)
        return CaseTiming(decode_s, prepare_s, run - start, time.perf_counter() - run)
