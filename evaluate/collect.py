"""One pass over a split: every candidate answers the same batches, and only what the figures need stays in memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import ModelError, VegrtError
from vegrt.evaluate.device.answers import AnswerSource, DeviceAnswers
from vegrt.evaluate.figures import LabelledAnswers
from vegrt.infer.decode.pipeline import batches
from vegrt.infer.runtimes.candidates import Candidate, artifact_of, computes_from_fp32, nothing_runs
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Runner
from vegrt.terminal.progress import track

log = logging.getLogger(__name__)

BATCH = 32
_JOINED = 64  # batches whose answers are joined into one: a small array has a header of 100 bytes

Logits = Mapping[Candidate, NDArray[np.float32]]  # (N, K) of each candidate for the same images, the reference first


class AnswerCollector:
    """Collects the answers of candidates batch by batch: 60 bytes per image and candidate. with_logits: collect logits too."""

    def __init__(self, *, with_logits: bool = False) -> None:
        self._with_logits = with_logits
        self._answers: dict[AnswerSource, list[LabelledAnswers]] = {}
        self._batches: dict[AnswerSource, list[LabelledAnswers]] = {}
        self._logits: dict[Candidate, list[NDArray[np.float32]]] = {}

    def add(self, logits: Logits, labels: NDArray[np.int_]) -> None:
        """Add the logits of one batch; every batch has the same candidates."""
        reference = next(iter(logits.values()))
        for candidate, values in logits.items():
            self.add_answers(candidate, LabelledAnswers.of(values, labels, reference))
            if self._with_logits:
                self._logits.setdefault(candidate, []).append(values)

    def add_answers(self, source: AnswerSource, answers: LabelledAnswers) -> None:
        """Add the answers of one batch."""
        waiting = self._batches.setdefault(source, [])
        waiting.append(answers)
        if len(waiting) == _JOINED:
            self._join(source)

    def answers(self) -> dict[AnswerSource, LabelledAnswers]:
        """Return every candidate's answers; none before the first batch."""
        for candidate in self._batches:
            self._join(candidate)
        return {candidate: LabelledAnswers.joined(parts) for candidate, parts in self._answers.items()}

    def logits(self) -> dict[Candidate, NDArray[np.float32]]:
        """Return every candidate's (N, K) logits if they are collected, else none."""
        return {candidate: np.concatenate(parts) for candidate, parts in self._logits.items()}

    def _join(self, candidate: AnswerSource) -> None:
        if waiting := self._batches[candidate]:
            self._answers.setdefault(candidate, []).append(LabelledAnswers.joined(waiting))
            waiting.clear()


def answers_of(logits: Logits, labels: NDArray[np.int_]) -> dict[AnswerSource, LabelledAnswers]:
    """Return every candidate's answers that (N, K) logits give; the first candidate is the reference."""
    collector = AnswerCollector()
    for start in range(0, len(labels), BATCH):
        rows = slice(start, start + BATCH)
        collector.add({candidate: values[rows] for candidate, values in logits.items()}, labels[rows])
    return collector.answers()


@dataclass(frozen=True, slots=True)
class CollectedAnswers:
    """The result of one pass over a split.

    runners, logits: by candidate; no logits unless they were requested. answers: of candidates, then of devices. readable:
    positions in the split of the N readable photos. errors: the reasons why the other photos were skipped. failed: errors of
    candidates that could not be loaded, by path of the artifact.
    """

    runners: dict[Candidate, Runner]
    answers: dict[AnswerSource, LabelledAnswers]
    logits: dict[Candidate, NDArray[np.float32]] = field(default_factory=dict)
    readable: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def collect_answers(
    bundle: Bundle,
    split: Split,
    chosen: Sequence[Candidate],
    *,
    devices: Sequence[DeviceAnswers] = (),
    gpu_required: bool = True,
    with_logits: bool = False,
) -> CollectedAnswers:
    """Return every candidate's answers for all readable photos of a split; each photo is decoded once.

    devices: answers made elsewhere, to be joined with the same photos. Raises ModelError for logits that are not finite.
    """
    if not chosen:
        raise nothing_runs(bundle)
    runners, failed = _open_all(bundle, chosen, gpu_required=gpu_required)
    collector, readable, errors = AnswerCollector(with_logits=with_logits), list[int](), list[str]()
    paths = [photo.path for photo in split.photos]
    total = -(-len(paths) // BATCH)
    for batch in track(batches(paths, bundle.manifest.contract, BATCH), f"Evaluating {split.name}", total):
        readable += batch.indices
        errors += [reason for _, reason in batch.errors]
        if batch.indices:
            logits = {
                candidate: _finite_logits(bundle, candidate, runner, batch.images)
                for candidate, runner in runners.items()
            }
            labels = np.array([split.photos[index].label for index in batch.indices])
            collector.add(logits, labels)
            for device in devices:
                collector.add_answers(device, device.labelled(batch.indices, labels, logits[chosen[0]]))
    return CollectedAnswers(runners, collector.answers(), collector.logits(), readable, errors, failed)


def _finite_logits(
    bundle: Bundle, candidate: Candidate, runner: Runner, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    logits = runner.logits(images)
    if not np.isfinite(logits).all():
        cure = "export it again"
        if computes_from_fp32(bundle, candidate):
            cure = "fp32 is too large for its arithmetic: name the other runtimes with --runtime"
        raise ModelError(f"{bundle.path}: {candidate} gives logits that are not finite; {cure}")
    return logits


def _open_all(
    bundle: Bundle, chosen: Sequence[Candidate], *, gpu_required: bool
) -> tuple[dict[Candidate, Runner], dict[str, str]]:
    """Return the runners, and the errors of those that could not be loaded, by the path of their artifact."""
    runners: dict[Candidate, Runner] = {}
    failed: dict[str, str] = {}
    for candidate in chosen:
        try:
            runners[candidate] = open_candidate(bundle, candidate)
        except VegrtError as error:
            if gpu_required or candidate.device == "cpu":
                raise
            log.warning("%s cannot be loaded here and is not evaluated (%s)", candidate, error)
            failed[artifact_of(bundle, candidate).path] = str(error)
    return runners, failed
