"""How far a candidate's answers could be trusted in an evaluation: part of results/evaluate-*.json (docs/results-format.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from vegrt.results.common import OMITTED, Figure, Interval, Proportion, Size
from vegrt.schema import Label, Share


@dataclass(frozen=True, slots=True)
class SetFigures:
    """The sets of one rule. coverage: the stated one. covered: the share that held the true class. mean_size: in classes.

    by_class: whether each class had a threshold of its own. empty: share of empty sets.
    """

    method: Literal["lac", "aps"]
    coverage: Share
    by_class: bool
    covered: Proportion
    mean_size: Figure
    empty: Share


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """The share of errors among the most confident photos. coverage: their share of all photos."""

    coverage: Share
    risk: Share


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What was accepted of some photos. accepted: their share. errors: share of wrong answers among them; None if none was.

    foreign: share of photos that were called foreign.
    """

    photos: Size
    accepted: Proportion
    foreign: Proportion
    errors: Proportion | None = None

    @property
    def accepted_photos(self) -> int:
        """Return how many photos were accepted."""
        return round(self.photos * self.accepted.value)

    @property
    def wrong_photos(self) -> int:
        """Return how many accepted photos were answered wrongly."""
        return round(self.accepted_photos * self.errors.value) if self.errors else 0


@dataclass(frozen=True, slots=True)
class ForeignFigures:
    """Photos of no class. auroc: of the foreign score against the photos of the split. passed: their share that is accepted by a
    threshold which keeps 95 % of those of the split. acceptance: by the thresholds of trust.json; each acceptance is an error.
    """

    auroc: Share
    passed: Share
    acceptance: Acceptance


@dataclass(frozen=True, slots=True)
class ShiftedFigures:
    """Labelled photos from elsewhere. confidence: mean calibrated probability of the answer."""

    top1: Proportion
    confidence: Share
    acceptance: Acceptance


@dataclass(frozen=True, slots=True)
class TrustFigures:
    """What trust.json promised of a candidate, measured. score: the method of the foreign score.

    ece, nll: of calibrated probabilities. aurc: area under the risk-coverage curve, 0 to 1. foreign, shifted: only if there were
    such photos.
    """

    score: Label
    temperature: Figure
    max_error: Share
    ece: Interval
    nll: Interval
    sets: tuple[SetFigures, ...]
    aurc: Share
    curve: tuple[RiskPoint, ...]
    acceptance: Acceptance
    foreign: Annotated[ForeignFigures | None, OMITTED] = None
    shifted: Annotated[ShiftedFigures | None, OMITTED] = None
