"""The schema of results/evaluate-*.json (docs/results-format.md), with what its lists owe each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from vegrt.errors import FormatError
from vegrt.results.common import (
    ABSENT,
    Candidate,
    Drop,
    Estimate,
    Figure,
    Header,
    Proportion,
    Size,
    check_length,
    check_unique,
)
from vegrt.schema import NOT_EMPTY, Count, Share, between


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class of a candidate; null where nothing is divided by."""

    support: Count
    precision: Proportion | None
    recall: Proportion | None
    f1: Estimate | None


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers of similar confidence; null in an empty bin."""

    low: Share
    high: Share
    count: Count
    confidence: Share | None
    accuracy: Share | None

    def __post_init__(self) -> None:
        if self.count and None in (self.confidence, self.accuracy):
            raise FormatError("is null in a bin that is not empty", "confidence")


@dataclass(frozen=True, slots=True)
class ClassChange:
    """What changed in one class against the reference."""

    newly_wrong: Count
    newly_right: Count
    p: Share | None
    p_holm: Share | None
    drop: Drop | None = None


@dataclass(frozen=True, slots=True)
class Paired:
    """A candidate against the reference on the same images."""

    flips: Count
    newly_wrong: Count
    newly_right: Count
    wrong_to_other_wrong: Count
    agreement: Share
    drop: Drop
    mcnemar_p: Share
    detectable_drop: Share | None = None
    kl: Estimate | None = None
    classes: tuple[ClassChange, ...] | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict."""

    verdict: Literal["REFERENCE", "PASS", "FAIL", "INCONCLUSIVE"]
    reason: str
    images_to_decide: Count | None = None


@dataclass(frozen=True, kw_only=True)  # without slots: a candidate has two bases, of which one may have them
class Figures:
    """All figures of a candidate over one set of images. nll, ece: older files have them without an interval."""

    top1: Proportion
    top3: Proportion
    nll: Estimate | Figure
    ece: Estimate | Figure
    confusion: tuple[tuple[int, ...], ...]
    paired: Paired
    gate: Gate
    brier: Estimate | None = None
    margin_mean: Estimate | None = None
    classes: tuple[ClassFigures, ...] | None = None
    reliability: tuple[ReliabilityBin, ...] | None = None

    def check_classes(self, count: int, place: str) -> None:
        """Raise FormatError unless every list is of so many classes. place: of these figures, with a dot behind it."""
        listed: dict[str, Sequence[object] | None] = {"classes": self.classes, "paired.classes": self.paired.classes}
        for name, rows in listed.items():
            if rows:
                check_length(rows, count, f"{place}{name}", "one for each class")
        for counts in (self.confusion, *self.confusion):
            check_length(counts, count, f"{place}confusion", "one for each class")
        if min(map(min, self.confusion)) < 0:
            raise FormatError("has less than 0 images", f"{place}confusion")


@dataclass(frozen=True, kw_only=True)
class EvaluatedCandidate(Candidate, Figures):
    """A candidate's figures, and the same without the photos that leaked, where there was an audit."""

    without_leaks: Figures = ABSENT


@dataclass(frozen=True, slots=True)
class Said:
    """What a candidate said of each photo: the class, its probability, and the margin over the second."""

    top1: tuple[int, ...]
    probability: tuple[float, ...]
    margin: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name, column in (("probability", self.probability), ("margin", self.margin or ())):
            if column and not 0 <= min(column) <= max(column) <= 1:
                raise FormatError("has a number beyond 0 to 1", name)


@dataclass(frozen=True, slots=True)
class Predictions:
    """Every photo's name, label and answers, in one order. candidates: by key."""

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    candidates: dict[str, Said]

    def check(self, classes: int, keys: Sequence[str]) -> None:
        """Raise FormatError unless every column is as long as the others, labels are classes, and all candidates are there."""
        if missing := [key for key in keys if key not in self.candidates]:
            raise FormatError("is missing", f"predictions.candidates.{missing[0]}")
        columns: dict[str, Sequence[float] | None] = {"labels": self.labels}
        for key, said in self.candidates.items():
            columns |= {f"candidates.{key}.{name}": getattr(said, name) for name in ("top1", "probability", "margin")}
        for name, column in columns.items():
            if column is None:
                continue
            check_length(column, len(self.paths), f"predictions.{name}", "one for each path")
            if (
                name.endswith(("labels", "top1"))
                and not 0 <= min(column, default=0) <= max(column, default=0) < classes
            ):
                raise FormatError(f"has a label that is none of {classes} classes", f"predictions.{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFile(Header):
    """An evaluation of candidates on one split, the reference first."""

    images: Size
    classes: Annotated[tuple[str, ...], NOT_EMPTY]
    margin_points: Annotated[float, between(0, 100)]
    confidence: Share
    candidates: Annotated[tuple[EvaluatedCandidate, ...], NOT_EMPTY]
    predictions: Predictions
    split: str = "test"
    data_fingerprint: str = ""
    leaked: Count | None = None
    unreadable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for index, row in enumerate(self.candidates):
            if (row.gate.verdict == "REFERENCE") != (index == 0):
                wanted = "PASS, FAIL or INCONCLUSIVE" if index else "REFERENCE"
                raise FormatError(f"is {row.gate.verdict}; expected {wanted}", f"candidates[{index}].gate.verdict")
            for place, figures in (("", row), (".without_leaks", row.without_leaks)):
                if figures is not None:
                    figures.check_classes(len(self.classes), f"candidates[{index}]{place}.")
        keys = [row.key for row in self.candidates]
        check_unique(keys)
        self.predictions.check(len(self.classes), keys)
