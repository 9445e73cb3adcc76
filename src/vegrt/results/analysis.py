"""The schemas of the results that analyse: robustness, sensitivity, curve (docs/results-format.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from vegrt.results.common import Drop, Estimate, Figure, Header, Proportion, Used
from vegrt.schema import Count, Label, Share, between


@dataclass(frozen=True, slots=True)
class Cell:
    """A candidate under one corruption at one level; parameter: null where the photo is as it was."""

    corruption: Label
    level: Annotated[int, between(0, 100)]
    parameter: Figure | None
    candidate: Label
    top1: Proportion
    drop: Drop | None = None
    flips: Count | None = None
    newly_wrong: Count | None = None
    newly_right: Count | None = None


@dataclass(frozen=True, slots=True)
class ExtraDrop:
    """How much more a candidate loses on bad photos than on clean ones."""

    candidate: Label
    extra_drop: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessFile(Header):
    """The robustness ladder."""

    candidates: tuple[Used, ...]
    images: Count
    confidence: Share
    rows: tuple[Cell, ...]
    summary: tuple[ExtraDrop, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer alone costs in 8 bits."""

    layer: str
    encoding: Label
    kl: Figure
    sqnr_db: Figure | None = None
    flips: Count | None = None
    agreement: Share | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityFile(Header):
    """Each layer alone in 8 bits."""

    candidates: tuple[Used, ...]
    images: Count
    rows: tuple[LayerCost, ...]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Ranges from so many photos."""

    images: Count
    encoding: Label
    agreement: Share
    kl: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveFile(Header):
    """Ranges from fewer photos."""

    candidates: tuple[Used, ...]
    images: Count
    rows: tuple[CurvePoint, ...]
