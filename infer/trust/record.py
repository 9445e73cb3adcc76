"""The content of trust.json (docs/bundle-format.md): for every candidate, when its answers can be trusted."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import FormatError
from vegrt.infer.trust.histograms import Reference
from vegrt.results.common import Figure, Interval, Proportion, Size, check_length, check_unique
from vegrt.schema import NOT_EMPTY, Count, Label, Positive, Sha256, Share, between, build_document

SCHEMA, VERSIONS = "vegrt-trust", (1, 2)
SetMethod = Literal["lac", "aps"]
ScoreMethod = Literal[
    "max-probability",
    "max-logit",
    "energy",
    "relative-mahalanobis",
    "mahalanobis-and-neighbour",
    "mahalanobis-two-neighbours",
]
TWO_NEIGHBOURS: ScoreMethod = "mahalanobis-two-neighbours"  # unknown to readers of version 1
WITH_EMBEDDINGS: tuple[ScoreMethod, ...] = ("relative-mahalanobis", "mahalanobis-and-neighbour", TWO_NEIGHBOURS)
_MAX_NUMBERS = 1 << 23  # of one array


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """How well probabilities agree with the share of right answers. nll: in nats."""

    ece: Interval
    nll: Interval
    brier: Interval


@dataclass(frozen=True, slots=True)
class SetRule:
    """Which classes are in the set of a photo: those whose nonconformity is at most a threshold.

    coverage: the share of photos whose set has the true class. photos_needed: the least photos that give it. threshold: None
    where there were fewer. by_class: the thresholds of single classes; None for a class with too few photos.
    """

    method: SetMethod
    coverage: Share
    photos_needed: Size
    threshold: Figure | None
    by_class: tuple[Figure | None, ...]

    @property
    def is_class_conditional(self) -> bool:
        """Return whether every class has a threshold of its own."""
        return all(threshold is not None for threshold in self.by_class)


@dataclass(frozen=True, slots=True)
class TriedScore:
    """A score on held-out photos. auroc: photos of the classes against near misses. accepted: the near misses accepted."""

    method: ScoreMethod
    auroc: Share
    accepted: Share


@dataclass(frozen=True, slots=True)
class ForeignRule:
    """The score that tells photos of no class: foreign above the threshold, which accepts `kept` of the validation photos."""

    method: ScoreMethod
    threshold: Figure
    kept: Share
    tried: tuple[TriedScore, ...] = ()


@dataclass(frozen=True, slots=True)
class AbstentionRule:
    """The calibrated probability from which an answer is accepted; None: too few photos to keep the errors below max_error.

    photos_needed: the least accepted photos, without an error among them, that show it. accepted, errors, upper_bound: on the
    validation photos with this threshold, the bound one-sided with 95 % confidence. photos: of validation.
    """

    max_error: Share
    photos_needed: Size
    threshold: Share | None
    accepted: Count
    errors: Count
    upper_bound: Share
    photos: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateTrust:
    """What is known of one candidate. artifact_sha256: of the file that it runs; of another file, nothing is known.

    reference: how the answers to validation photos spread, to be compared with those of a device; None in older files.
    """

    key: Label
    artifact_sha256: Sha256
    top1: Proportion
    temperature: Annotated[float, between(0.01, 100)]
    before: CalibrationFigures
    after: CalibrationFigures
    sets: tuple[SetRule, ...]
    foreign: ForeignRule
    abstention: AbstentionRule
    reference: Reference | None = None

    def set_rule(self, method: SetMethod, coverage: float) -> SetRule | None:
        """Return the rule of this method and coverage that has a threshold; None if there is none."""
        for rule in self.sets:
            if rule.method == method and abs(rule.coverage - coverage) < 1e-9 and rule.threshold is not None:
                return rule
        return None


@dataclass(frozen=True, slots=True)
class PackedArray:
    """An array in JSON: little-endian float16 or float32 numbers in C order, as base64."""

    shape: tuple[Count, ...]
    dtype: Literal["<f2", "<f4"]
    base64: str

    @classmethod
    def of(cls, array: NDArray[np.floating[Any]], dtype: Literal["<f2", "<f4"]) -> PackedArray:
        """Return an array, rounded to this type."""
        content = np.ascontiguousarray(array.astype(dtype)).tobytes()
        return cls(tuple(array.shape), dtype, base64.b64encode(content).decode("ascii"))

    def unpacked(self) -> NDArray[np.float64]:
        """Return the numbers in float64. Raises FormatError unless they fill the shape and are finite."""
        if prod(self.shape) > _MAX_NUMBERS:
            raise FormatError(f"has {prod(self.shape):,} numbers; expected at most {_MAX_NUMBERS:,}", "shape")
        try:
            content = base64.b64decode(self.base64, validate=True)
        except binascii.Error as error:
            raise FormatError(f"is not base64 ({error})", "base64") from error
        expected = prod(self.shape) * np.dtype(self.dtype).itemsize
        if len(content) != expected:
            raise FormatError(f"has {len(content)} bytes; expected {expected}", "base64")
        numbers = np.frombuffer(content, self.dtype).reshape(self.shape).astype(np.float64)
        if not np.isfinite(numbers).all():
            raise FormatError("has a number that is not finite", "base64")
        return numbers


@dataclass(frozen=True, slots=True)
class PackedCovariance:
    """A covariance of D numbers: `variances` (R,) along the columns of `axes` (D, R), and `rest` in all other directions."""

    axes: PackedArray
    variances: PackedArray
    rest: Positive


@dataclass(frozen=True, slots=True)
class PackedNeighbours:
    """Validation photos to compare with. points: (M, R), along the axes of the total covariance. labels: their classes.

    weight: of the squared distance to the nearest of them, beside the relative Mahalanobis distance. excess_weight: of that
    distance less the one to the nearest photo of another class; None in files of version 1.
    """

    points: PackedArray
    labels: tuple[Count, ...]
    weight: Positive
    excess_weight: Positive | None = None


@dataclass(frozen=True, slots=True)
class PackedEmbeddings:
    """How the features of validation photos are distributed, after `vegrt.infer.trust.embeddings.normalized`.

    key: the candidate that gave them. mean: (D,). class_means: (K, D), from the mean. within: the covariance around the class
    means. total: around the mean. neighbours: single photos. train_photos: how many photos of the train split are among them.
    parts: of the D numbers, those of the embedding and of the intermediate layer; None where the embedding is all.
    """

    key: Label
    mean: PackedArray
    class_means: PackedArray
    within: PackedCovariance
    total: PackedCovariance
    neighbours: PackedNeighbours
    train_photos: Count = 0
    parts: tuple[Size, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The content of trust.json. data_fingerprint: of the validation split. embeddings: None where no score needs them."""

    schema: Literal["vegrt-trust"] = "vegrt-trust"
    schema_version: Size
    created: Label
    data_fingerprint: Label
    photos: Size
    classes: Annotated[tuple[str, ...], NOT_EMPTY]
    max_error: Share
    candidates: Annotated[tuple[CandidateTrust, ...], NOT_EMPTY]
    embeddings: PackedEmbeddings | None = None

    def __post_init__(self) -> None:
        check_unique([row.key for row in self.candidates])
        if self.schema_version < (needed := version_of(self.candidates, self.embeddings)):
            reason = f"{TWO_NEIGHBOURS} and embeddings.parts"
            raise FormatError(f"is {self.schema_version}; expected {needed} for {reason}", "schema_version")
        for index, row in enumerate(self.candidates):
            for rule in row.sets:
                check_length(
                    rule.by_class, len(self.classes), f"candidates[{index}].sets.by_class", "one for each class"
                )
            method, embeddings = row.foreign.method, self.embeddings
            if method in WITH_EMBEDDINGS and embeddings is None:
                raise FormatError("is missing", "embeddings")
            if method == TWO_NEIGHBOURS and embeddings and embeddings.neighbours.excess_weight is None:
                raise FormatError("is missing", "embeddings.neighbours.excess_weight")
            if row.reference is not None:
                row.reference.histogram(len(self.classes))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Any) -> Trust:
        """Return JSON values as a Trust. Raises FormatError for another schema or version, and for the first invalid value."""
        return build_document(cls, value, SCHEMA, *VERSIONS)


def version_of(candidates: Sequence[CandidateTrust], embeddings: PackedEmbeddings | None) -> int:
    """Return the version of a trust.json that holds this: 1 if earlier versions of vegrt can read it."""
    methods = {
        method for row in candidates for method in (row.foreign.method, *(score.method for score in row.foreign.tried))
    }
    has_parts = embeddings is not None and embeddings.parts is not None
    return 2 if has_parts or TWO_NEIGHBOURS in methods else 1
