"""What a report speaks of: a bundle and its current result files. Knows nothing of how they were made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.infer.runtimes.objective import DEFAULT, Objective
from vegrt.report.facts.benches import benches_of, machine_name
from vegrt.results.files import load_result_dict

EVALUATION = "evaluate-test"
BENCHMARK = "bench"
ROBUSTNESS = "robustness-test"
CALIBRATION_EXTRAS = ("sensitivity", "curve")


@dataclass(frozen=True, slots=True)
class Flip:
    """A photo on which candidates answer otherwise than the reference. Classes are indices.

    path: `<Class>/<file>` below the split's folder. answers: the reference's first, then each that differs from it, as
    (key, class, its probability, its margin over the second best; None where that was not recorded).
    """

    path: str
    label: int
    answers: tuple[tuple[str, int, float, float | None], ...]

    @property
    def newly_wrong(self) -> int:
        """Return how many candidates lost a photo that the reference has right."""
        reference, *others = (answer for _, answer, *_ in self.answers)
        return sum(other != self.label for other in others) if reference == self.label else 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report was asked for. objective: what fastest means. command: its name and options; empty when by no command."""

    objective: Objective = DEFAULT
    command: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """A bundle with its results; None for one that is missing or was made with other artifacts.

    bench: the bundle's own, or the first of those from elsewhere. elsewhere: other machines' benchmarks of its artifacts.
    audit: the content of audit.json, of the photos that the bundle was made with. asked: for what.
    """

    bundle: Bundle
    evaluation: dict[str, Any] | None
    bench: dict[str, Any] | None
    sensitivity: dict[str, Any] | None = None
    curve: dict[str, Any] | None = None
    robustness: dict[str, Any] | None = None
    elsewhere: tuple[dict[str, Any], ...] = ()
    audit: dict[str, Any] | None = None
    asked: Asked = field(default_factory=Asked)

    @property
    def objective(self) -> Objective:
        """Return what fastest means in this report."""
        return self.asked.objective

    def evaluated(self) -> list[dict[str, Any]]:
        """Return the evaluation's rows, the reference first; none without an evaluation."""
        return list(self.evaluation["candidates"]) if self.evaluation else []

    def pair(self, key: str) -> list[dict[str, Any]]:
        """Return the evaluation's rows of the reference and of a candidate, if it is there."""
        return [row for number, row in enumerate(self.evaluated()) if number == 0 or row["key"] == key]

    def measured(self) -> list[dict[str, Any]]:
        """Return the benchmark's rows; none without a benchmark."""
        return list(self.bench["candidates"]) if self.bench else []

    def benches(self) -> dict[str, dict[str, Any]]:
        """Return every benchmark by the name of its machine, the bundle's own first; a second of one machine by its date too."""
        named: dict[str, dict[str, Any]] = {}
        for bench in ([self.bench] if self.bench else []) + list(self.elsewhere):
            name = machine_name(bench)
            named[name if name not in named else f"{name}, {bench['created'][:16]}"] = bench
        return named

    def changes(self, key: str) -> list[tuple[int, int]]:
        """Return how many photos of each class a candidate (newly lost, newly got right) against the reference."""
        assert self.evaluation is not None
        predictions = self.evaluation["predictions"]
        reference, said = (predictions["candidates"][one]["top1"] for one in (self.evaluated()[0]["key"], key))
        counts = [[0, 0] for _ in self.evaluation["classes"]]
        for label, before, now in zip(predictions["labels"], reference, said, strict=True):
            counts[label][0] += before == label != now
            counts[label][1] += before != label == now
        return [(wrong, right) for wrong, right in counts]

    def flips(self) -> list[Flip]:
        """Return every photo with a flip: those that most candidates lost first, then by path."""
        return sorted(self._flips(), key=lambda flip: (-flip.newly_wrong, -len(flip.answers), flip.path))

    def _flips(self) -> Iterator[Flip]:
        if not self.evaluation:
            return
        predictions = self.evaluation["predictions"]
        keys = [row["key"] for row in self.evaluated()]
        columns = [predictions["candidates"][key] for key in keys]
        for index, (path, label) in enumerate(zip(predictions["paths"], predictions["labels"], strict=True)):
            answers = [(key, *_answer(column, index)) for key, column in zip(keys, columns, strict=True)]
            differing = [answer for answer in answers[1:] if answer[1] != answers[0][1]]
            if differing:
                yield Flip(path, label, (answers[0], *differing))


def load_facts(
    bundle: Bundle,
    *,
    benches: Sequence[Path] = (),
    audit: dict[str, Any] | None = None,
    asked: Asked | None = None,
) -> Facts:
    """Return the bundle's facts. Raises VegrtError, naming the cure, when there is no result at all.

    benches: result files of `vegrt bench` from other machines; what they say of artifacts that the bundle lacks is left out.
    """
    sensitivity, curve = (load_result_dict(bundle, name) for name in CALIBRATION_EXTRAS)
    measured = ([own] if (own := load_result_dict(bundle, BENCHMARK)) else []) + benches_of(bundle, benches)
    bench, elsewhere = (measured[0], tuple(measured[1:])) if measured else (None, ())
    evaluation, robustness = load_result_dict(bundle, EVALUATION), load_result_dict(bundle, ROBUSTNESS)
    if evaluation is None and bench is None:
        raise VegrtError(
            f"{bundle.path}: no results of its present artifacts to report; make them: "
            f"vegrt evaluate {bundle.path} --data DATA; vegrt bench {bundle.path}"
        )
    return Facts(bundle, evaluation, bench, sensitivity, curve, robustness, elsewhere, audit, asked or Asked())


def _answer(column: dict[str, Any], index: int) -> tuple[int, float, float | None]:
    margins = column.get("margin")
    return column["top1"][index], column["probability"][index], margins[index] if margins else None
