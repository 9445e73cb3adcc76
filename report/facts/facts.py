"""The facts of a report: a bundle and its current result files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.infer.runtimes.objective import DEFAULT, Objective
from vegrt.report.facts.benches import BenchFile, machine_name, matching_benches
from vegrt.results.analysis import Curve, Robustness, Sensitivity
from vegrt.results.benchmark import Bench, BenchCandidate
from vegrt.results.bundle_results import log_ignored, read_results
from vegrt.results.common import Command
from vegrt.results.evaluation import CandidateAnswers, CandidateResult, Evaluation, Predictions, reference_and
from vegrt.results.files import load_result
from vegrt.train.data.audit_file import ReportedAudit


@dataclass(frozen=True, slots=True)
class Answer:
    """A candidate's answer to one photo. label: the class index. margin: lead over the second class.

    probability, margin: None where they were not recorded.
    """

    key: str
    label: int
    probability: float | None
    margin: float | None


@dataclass(frozen=True, slots=True)
class Flip:
    """A photo that some candidates classify differently from the reference. label: the index of its true class.

    path: `<Class>/<file>` below the split's folder. answers: the reference's first, then those that differ from it.
    """

    path: str
    label: int
    answers: tuple[Answer, ...]

    @property
    def newly_wrong(self) -> int:
        """Return how many candidates misclassify the photo although the reference classifies it correctly."""
        reference, *others = self.answers
        return sum(answer.label != self.label for answer in others) if reference.label == self.label else 0


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """How a report was requested.

    objective: the measure of speed. command: name and options of the command line, as JSON values; empty when called from Python.
    """

    objective: Objective = DEFAULT
    command: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MeasuringCommands:
    """The commands that made the results of a report; None for a result from Python or from an early version."""

    evaluate: tuple[Command | None, ...] = ()
    bench: tuple[Command | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """A bundle with its results. None: missing, or made with other artifacts.

    bench: the bundle's own, otherwise the first from another machine. other_benches: the remaining ones from other machines.
    audit: the audit of the photos that the bundle was made with. runs: the file of each time in `bench`, by key and batch size.
    commands: those that evaluated and measured, where they were recorded. predictions: of the evaluation;
    None: in a file and not read.
    """

    bundle: Bundle
    evaluation: Evaluation | None
    bench: Bench | None
    sensitivity: Sensitivity | None = None
    curve: Curve | None = None
    robustness: Robustness | None = None
    other_benches: tuple[Bench, ...] = ()
    audit: ReportedAudit | None = None
    request: ReportRequest = field(default_factory=ReportRequest)
    runs: Mapping[tuple[str, int], str] = field(default_factory=dict)
    commands: MeasuringCommands = field(default_factory=MeasuringCommands)
    predictions: Predictions | None = None

    @property
    def objective(self) -> Objective:
        """Return the measure of speed in this report."""
        return self.request.objective

    def evaluated(self) -> tuple[CandidateResult, ...]:
        """Return the evaluated candidates, the reference first; none without an evaluation."""
        return self.evaluation.candidates if self.evaluation else ()

    def reference_and(self, key: str) -> list[CandidateResult]:
        """Return the evaluated reference and, if it was evaluated, the candidate of this key."""
        return reference_and(self.evaluation, key) if self.evaluation else []

    def measured(self) -> tuple[BenchCandidate, ...]:
        """Return the benchmark's candidates; none without a benchmark."""
        return self.bench.candidates if self.bench else ()

    def benches(self) -> dict[str, Bench]:
        """Return every benchmark by the name of its machine, the bundle's own first; a repeated machine also has its date."""
        benches: dict[str, Bench] = {}
        for bench in (*([self.bench] if self.bench else []), *self.other_benches):
            name = machine_name(bench)
            benches[name if name not in benches else f"{name}, {bench.created[:16]}"] = bench
        return benches

    def class_changes(self, key: str) -> list[tuple[int, int]]:
        """Return for each class how many photos are (newly wrong, newly right) with a candidate against the reference."""
        assert self.evaluation is not None
        assert self.predictions is not None
        before, now = (self.predictions.candidates[name].top1 for name in (self.evaluated()[0].key, key))
        counts = [[0, 0] for _ in self.evaluation.classes]
        for label, old, new in zip(self.predictions.labels, before, now, strict=True):
            counts[label][0] += old == label != new
            counts[label][1] += old != label == new
        return [(wrong, right) for wrong, right in counts]

    def flips(self) -> list[Flip]:
        """Return every photo with a flip, sorted by the number of candidates that newly misclassify it, then by path."""
        return sorted(self._flips(), key=lambda flip: (-flip.newly_wrong, -len(flip.answers), flip.path))

    def _flips(self) -> Iterator[Flip]:
        if (predictions := self.predictions) is None:
            return
        columns = [(row.key, predictions.candidates[row.key]) for row in self.evaluated()]
        for index, (path, label) in enumerate(zip(predictions.paths, predictions.labels, strict=True)):
            reference, *others = (_answer(key, column, index) for key, column in columns)
            differing = [answer for answer in others if answer.label != reference.label]
            if differing:
                yield Flip(path, label, (reference, *differing))


def load_facts(
    bundle: Bundle,
    *,
    benches: Sequence[BenchFile] = (),
    audit: ReportedAudit | None = None,
    request: ReportRequest | None = None,
    with_predictions: bool = False,
) -> Facts:
    """Return the bundle's facts. benches: from other machines. with_predictions: whether the answers to each photo are needed.

    Raises VegrtError if the bundle has neither an evaluation nor a benchmark; with predictions also as `read_predictions` does.
    """
    results = read_results(bundle, with_predictions=with_predictions)
    log_ignored(bundle, results.ignored)
    merged, own = results.evaluation, results.benches[0] if results.benches else None
    predictions = merged.evaluation.predictions if merged else None
    measured = [*(other.bench for other in results.benches), *matching_benches(bundle, benches)]
    bench, others = (measured[0], tuple(measured[1:])) if measured else (None, ())
    if merged is None and bench is None:
        raise VegrtError(
            f"{bundle.path}: no results of the current artifacts; make them with: "
            f"vegrt evaluate {bundle.path} --data DATA; vegrt bench {bundle.path}"
        )
    return Facts(
        bundle,
        merged.evaluation if merged else None,
        bench,
        sensitivity=load_result(bundle, Sensitivity, "sensitivity"),
        curve=load_result(bundle, Curve, "curve"),
        robustness=load_result(bundle, Robustness, "robustness-test"),
        other_benches=others,
        audit=audit,
        request=request or ReportRequest(),
        runs=own.runs if own else {},
        commands=MeasuringCommands(merged.commands if merged else (), own.commands if own else ()),
        predictions=predictions if isinstance(predictions, Predictions) else None,
    )


def _answer(key: str, column: CandidateAnswers, index: int) -> Answer:
    margin = column.margin[index] if column.margin else None
    probability = column.probability[index] if column.probability else None
    return Answer(key, column.top1[index], probability, margin)
