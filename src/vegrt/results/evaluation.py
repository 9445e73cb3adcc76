"""Evaluation: the content of results/evaluate-*.json (docs/results-format.md), with the checks across its lists."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from vegrt.errors import FormatError
from vegrt.results.common import (
    OMITTED,
    CandidateRow,
    Drop,
    EngineRecord,
    Figure,
    Interval,
    Proportion,
    Result,
    Size,
    Verdict,
    check_length,
    check_unique,
)
from vegrt.results.trust import TrustFigures
from vegrt.schema import NOT_EMPTY, Count, Label, Sha256, Share, between

# With more, confusion matrices are stored as lists of cells: at 1,000 classes 99 % of the cells are 0
MAX_DENSE_CLASSES = 100


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class of a candidate. None: the figure would divide by zero."""

    support: Count
    precision: Proportion | None
    recall: Proportion | None
    f1: Interval | None


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers of similar confidence. confidence, accuracy: their means; None in an empty bin."""

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
    """The changes in one class against the reference. p: exact McNemar test; p_holm: corrected over all classes."""

    newly_wrong: Count
    newly_right: Count
    p: Share | None
    p_holm: Share | None
    drop: Drop | None = None


@dataclass(frozen=True, slots=True)
class Paired:
    """A candidate against the reference on the same images. detectable_drop, kl, classes: missing in old files."""

    flips: Count
    newly_wrong: Count
    newly_right: Count
    wrong_to_other_wrong: Count
    agreement: Share
    drop: Drop
    mcnemar_p: Share
    detectable_drop: Share | None = None
    kl: Interval | None = None
    classes: tuple[ClassChange, ...] | None = None


@dataclass(frozen=True, slots=True)
class ClassMove:
    """A class whose photos are answered as another class. Both are indices."""

    truth: Count
    answer: Count


@dataclass(frozen=True, slots=True)
class ColoursSwapped:
    """A cause: swapped red and blue. right, right_swapped: shares of the photos that are right without and with a swap."""

    photos: Size
    right: Share
    right_swapped: Share
    kind: Literal["colours-swapped"] = "colours-swapped"


@dataclass(frozen=True, slots=True)
class ClassesPermuted:
    """A cause: the answers have another class order."""

    moves: Annotated[tuple[ClassMove, ...], NOT_EMPTY]
    kind: Literal["classes-permuted"] = "classes-permuted"


PixelFault = Literal[
    "swapped-colours",
    "no-antialias",
    "nearest",
    "bilinear",
    "bicubic",
    "stretched",
    "cropped",
    "not-normalised",  # pixels from 0 to 1
    "half-normalised",  # pixels from -1 to 1
]


@dataclass(frozen=True, slots=True)
class PixelsDiffer:
    """A cause: the device prepares pixels in another way. faults: applied together.

    photos: number of photos that fp32 answered again. agreeing, agreeing_faulty: how many of them the device answers as fp32
    does on right pixels, and on pixels with the faults.
    """

    faults: Annotated[tuple[PixelFault, ...], NOT_EMPTY]
    photos: Size
    agreeing: Count
    agreeing_faulty: Count
    kind: Literal["pixels-differ"] = "pixels-differ"


@dataclass(frozen=True, slots=True)
class TextCause:
    """The reason for a verdict as a sentence; the only cause in files of version 1."""

    text: str
    kind: Literal["text"] = "text"


Cause = ColoursSwapped | ClassesPermuted | PixelsDiffer | TextCause


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate's verdict.

    causes: possible causes of a FAIL. images_to_decide: images needed to decide an INCONCLUSIVE; None: more would hardly decide.
    judged_drop: the drop that was compared with the margin, if it is not that of `paired`. margin_points: the margin, if it is
    not the evaluation's; only in a merged evaluation (vegrt.results.evaluations), never in a file.
    """

    verdict: Verdict
    causes: tuple[Cause, ...] = ()
    images_to_decide: Count | None = None
    judged_drop: Annotated[Drop | None, OMITTED] = None
    margin_points: Annotated[float | None, OMITTED] = None


@dataclass(frozen=True, kw_only=True)
class AnswerFigures:
    """The figures of a candidate's own answers. nll, ece: old files have them without an interval.

    top3, top5, nll, brier: None without the probabilities of all classes; top5 also with fewer than 20 classes, and in old
    files. ece, reliability: None without that of the answer. margin_mean: None without that of the second best class.

    confusion: rows are the truth. confusion_cells: instead of it where there are many classes: truth, answer, photos of each cell
    that is not 0. Neither is there for many classes without the leaked photos.
    """

    top1: Proportion
    top3: Annotated[Proportion | None, OMITTED] = None
    top5: Annotated[Proportion | None, OMITTED] = None
    nll: Annotated[Interval | Figure | None, OMITTED] = None
    brier: Interval | None = None
    margin_mean: Interval | None = None
    ece: Annotated[Interval | Figure | None, OMITTED] = None
    classes: tuple[ClassFigures, ...] | None = None
    reliability: tuple[ReliabilityBin, ...] | None = None
    confusion: Annotated[tuple[tuple[int, ...], ...] | None, OMITTED] = None
    confusion_cells: Annotated[tuple[tuple[Count, Count, Count], ...] | None, OMITTED] = None

    def confusion_counts(self) -> dict[tuple[int, int], int]:
        """Return the number of photos by class and answer, where it is not 0."""
        if self.confusion_cells is not None:
            return {(truth, answer): photos for truth, answer, photos in self.confusion_cells}
        return {
            (truth, answer): photos
            for truth, row in enumerate(self.confusion or ())
            for answer, photos in enumerate(row)
            if photos
        }


@dataclass(frozen=True, kw_only=True)
class Figures(AnswerFigures):
    """All figures of a candidate over one set of images, with the comparison and the verdict."""

    paired: Paired
    gate: Gate

    def check_classes(self, count: int, place: str) -> None:
        """Raise FormatError if a list does not have `count` classes. place: path of these figures, ending in a dot."""
        columns: dict[str, Sequence[object] | None] = {"classes": self.classes, "paired.classes": self.paired.classes}
        for name, rows in columns.items():
            if rows:
                check_length(rows, count, f"{place}{name}", "one for each class")
        if self.confusion is not None:
            for counts in (self.confusion, *self.confusion):
                check_length(counts, count, f"{place}confusion", "one for each class")
            if min(map(min, self.confusion)) < 0:
                raise FormatError("has less than 0 images", f"{place}confusion")
        if any(max(truth, answer) >= count for truth, answer, _ in self.confusion_cells or ()):
            raise FormatError(f"has a label that is none of {count} classes", f"{place}confusion_cells")
        moves = [move for cause in self.gate.causes if isinstance(cause, ClassesPermuted) for move in cause.moves]
        if any(max(move.truth, move.answer) >= count for move in moves):
            raise FormatError(f"has a label that is none of {count} classes", f"{place}gate.causes")


@dataclass(frozen=True, kw_only=True)
class CandidateResult(Figures, CandidateRow):
    """A candidate's figures. without_leaks: the same without the leaked photos; None without an audit.

    trust: only where the bundle's trust.json knows the candidate.
    """

    without_leaks: Annotated[Figures | None, OMITTED] = None
    trust: Annotated[TrustFigures | None, OMITTED] = None


@dataclass(frozen=True, slots=True)
class CandidateAnswers:
    """A candidate's answer to each photo: the class, its probability, and the margin over the second best class.

    probability: None for an answers file without probabilities.
    """

    top1: tuple[int, ...]
    probability: Annotated[tuple[float, ...] | None, OMITTED] = None
    margin: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name, column in (("probability", self.probability or ()), ("margin", self.margin or ())):
            if column and not 0 <= min(column) <= max(column) <= 1:
                raise FormatError("has a number beyond 0 to 1", name)


@dataclass(frozen=True, slots=True)
class Predictions:
    """The name, label and answers of every photo, in the same order. candidates: by key."""

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    candidates: dict[str, CandidateAnswers]

    @property
    def photos_sha256(self) -> str:
        """Return a SHA-256 over the names and labels of the photos, in hex; results of the same photos have the same."""
        digest = hashlib.sha256()
        for path, label in zip(self.paths, self.labels, strict=True):
            digest.update(f"{path}\0{label}\n".encode())
        return digest.hexdigest()

    def check(self, classes: int, keys: Sequence[str]) -> None:
        """Raise FormatError if columns differ in length, a label is no class, or a candidate is missing."""
        if missing := [key for key in keys if key not in self.candidates]:
            raise FormatError("is missing", f"predictions.candidates.{missing[0]}")
        columns: dict[str, Sequence[float] | None] = {"labels": self.labels}
        for key, answers in self.candidates.items():
            columns |= {
                f"candidates.{key}.{name}": getattr(answers, name) for name in ("top1", "probability", "margin")
            }
        for name, column in columns.items():
            if column is None:
                continue
            check_length(column, len(self.paths), f"predictions.{name}", "one for each path")
            if (
                name.endswith(("labels", "top1"))
                and not 0 <= min(column, default=0) <= max(column, default=0) < classes
            ):
                raise FormatError(f"has a label that is none of {classes} classes", f"predictions.{name}")


@dataclass(frozen=True, slots=True)
class PredictionsFile:
    """The predictions of many photos, in a Parquet file beside the result file (vegrt.results.predictions).

    file: its name. sha256: of the file. photos: their number. photos_sha256: `Predictions.photos_sha256`.
    """

    file: Label
    sha256: Sha256
    photos: Size
    photos_sha256: Sha256


NotRunCause = Literal[
    "checkpoint",  # it does not ship; only `vegrt evaluate` runs it
    "no-torch",
    "no-runtime",
    "no-mnn",
    "no-openvino",  # a bf16 model, which ONNX Runtime cannot run
    "no-tensorrt",
    "no-gpu",
    "rtx-engine",  # vegrt builds it but does not run it
    "other-machine",  # an engine for another GPU or TensorRT
    "not-loaded",  # detail: the error
    "not-requested",
    "added-since",  # after the evaluation
    "text",
]


@dataclass(frozen=True, slots=True)
class NotRun:
    """An artifact that was not run. artifact: its path in the bundle. engine: what was built, for `other-machine`.

    detail: the error that `not-loaded` means, and the sentence of an old file for `text`.
    """

    artifact: str
    cause: NotRunCause
    engine: Annotated[EngineRecord | None, OMITTED] = None
    detail: Annotated[str | None, OMITTED] = None


@dataclass(frozen=True, kw_only=True)
class Evaluation(Result):
    """An evaluation of candidates on one set of photos, the reference first.

    leaked: number of leaked photos; None without an audit. The fields with None and not_run are missing in old files.
    predictions: read them with `vegrt.results.predictions.read_predictions`, wherever they are stored.
    """

    KIND: ClassVar[str] = "evaluate"

    name: Annotated[str | None, OMITTED] = None
    split: str = "test"
    data_fingerprint: str = ""
    images: Size
    leaked: Count | None = None
    unreadable: tuple[str, ...] = ()
    not_run: tuple[NotRun, ...] = ()
    classes: Annotated[tuple[str, ...], NOT_EMPTY]
    margin_points: Annotated[float, between(0, 100)]
    margin_auto: bool = False
    decidable_margin_points: Annotated[Figure | None, OMITTED] = None
    confidence: Share
    resamples: Annotated[Count | None, OMITTED] = None
    candidates: Annotated[tuple[CandidateResult, ...], NOT_EMPTY]
    predictions: Predictions | PredictionsFile

    def __post_init__(self) -> None:
        for index, row in enumerate(self.candidates):
            if (row.gate.verdict == "REFERENCE") != (index == 0):
                expected = "PASS, FAIL or INCONCLUSIVE" if index else "REFERENCE"
                raise FormatError(f"is {row.gate.verdict}; expected {expected}", f"candidates[{index}].gate.verdict")
            if row.confusion is None and row.confusion_cells is None:
                raise FormatError("is missing", f"candidates[{index}].confusion")
            for place, figures in (("", row), (".without_leaks", row.without_leaks)):
                if figures is not None:
                    figures.check_classes(len(self.classes), f"candidates[{index}]{place}.")
        keys = [row.key for row in self.candidates]
        check_unique(keys)
        if isinstance(self.predictions, Predictions):
            self.predictions.check(len(self.classes), keys)


def reference_and(evaluation: Evaluation, key: str) -> list[CandidateResult]:
    """Return the reference of an evaluation and, if it was evaluated, the candidate of this key."""
    return [row for number, row in enumerate(evaluation.candidates) if number == 0 or row.key == key]
