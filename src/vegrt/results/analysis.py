"""Robustness, Sensitivity and Curve: results for analysis, which decide nothing (docs/results-format.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from vegrt.results.common import OMITTED, ArtifactRow, CandidateRow, Drop, Figure, Interval, Proportion, Result
from vegrt.schema import Count, Label, Share, between


@dataclass(frozen=True, slots=True)
class RobustnessRow:
    """A candidate under one corruption at one level; level 0 is clean, without a parameter.

    drop, flips, newly_wrong, newly_right: against the reference on the same pixels.
    """

    corruption: Label
    level: Annotated[int, between(0, 100)]
    parameter: Figure | None
    candidate: Label
    top1: Proportion
    drop: Drop | None = None
    flips: Count | None = None
    newly_wrong: Count | None = None
    newly_right: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraDrop:
    """The extra drop of a candidate on corrupted photos over clean ones; corrupted drops are means over all levels."""

    candidate: Label
    clean_drop: Annotated[Interval | None, OMITTED] = None
    corrupted_drop: Annotated[Interval | None, OMITTED] = None
    extra_drop: Interval


@dataclass(frozen=True, slots=True)
class CorruptionLevels:
    """A corruption and its parameter at each level. unit: of the parameter."""

    name: Label
    unit: Label
    levels: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Robustness(Result):
    """The drop of each int8 candidate on corrupted photos."""

    KIND: ClassVar[str] = "robustness"

    name: Annotated[str | None, OMITTED] = None
    split: Annotated[str | None, OMITTED] = None
    data_fingerprint: Annotated[str | None, OMITTED] = None
    images: Count
    unreadable: tuple[str, ...] = ()
    seed: Annotated[int | None, OMITTED] = None
    confidence: Share
    resamples: Annotated[Count | None, OMITTED] = None
    corruptions: tuple[CorruptionLevels, ...] = ()
    candidates: tuple[CandidateRow, ...]
    rows: tuple[RobustnessRow, ...]
    summary: tuple[ExtraDrop, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """The effect of quantizing one layer alone to 8 bits. kl: in nats."""

    layer: str
    encoding: Label
    kl: Figure
    sqnr_db: Annotated[Figure | None, OMITTED] = None
    flips: Annotated[Count | None, OMITTED] = None
    agreement: Annotated[Share | None, OMITTED] = None


@dataclass(frozen=True, kw_only=True)
class Sensitivity(Result):
    """The effect of each layer alone in 8 bits. images: number of held-out photos."""

    KIND: ClassVar[str] = "sensitivity"

    candidates: tuple[ArtifactRow, ...]
    images: Count
    rows: tuple[LayerCost, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The winning method's model with ranges from the first `images` photos, measured on the held-out photos."""

    images: Count
    encoding: Label
    agreement: Share
    flips: Annotated[Count | None, OMITTED] = None
    accuracy: Annotated[Share | None, OMITTED] = None
    drop_points: Annotated[Figure | None, OMITTED] = None
    kl: Figure
    sqnr_db: Annotated[Figure | None, OMITTED] = None


@dataclass(frozen=True, kw_only=True)
class Curve(Result):
    """Models with ranges from fewer photos. images: number of held-out photos."""

    KIND: ClassVar[str] = "curve"

    candidates: tuple[ArtifactRow, ...]
    images: Count
    rows: tuple[CurvePoint, ...]
