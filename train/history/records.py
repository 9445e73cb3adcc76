"""What a training run knows of itself so far, as plain values that survive in JSON exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vegrt.dataset.photos import SPLITS
from vegrt.errors import FormatError
from vegrt.schema import build

REST = "rest"  # the gradients of parameters outside all stages, which some of timm's models have
Phase = Literal["head", "all"]
PHASES: dict[Phase, str] = {"head": "head alone", "all": "all layers"}  # for people, in their order


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch. Both losses are plain cross-entropy, so that they compare; training's is on augmented photos.

    lr: the rate of its last step. gradient_norms: per stage, before clipping, mean over the steps.
    """

    epoch: int
    phase: Phase
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    lr: float
    images_per_s: float
    seconds: float
    gradient_norms: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class EpochSums:
    """The running sums of an unfinished epoch."""

    images: int = 0
    steps: int = 0
    loss: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    gradient_norms: dict[str, float] = field(default_factory=dict)

    def add(self, images: int, loss: float, correct: int, norms: Mapping[str, float] | None = None) -> None:
        """Add one step. loss: mean over its images."""
        self.images += images
        self.steps += 1
        self.loss += loss * images
        self.correct += correct
        for stage, norm in (norms or {}).items():
            self.gradient_norms[stage] = self.gradient_norms.get(stage, 0.0) + norm

    def finish(self, epoch: int, phase: Phase, loss: float, accuracy: float, lr: float) -> EpochRecord:
        """Return the finished epoch. loss, accuracy: on the validation split."""
        return EpochRecord(
            epoch=epoch,
            phase=phase,
            train_loss=self.loss / self.images,
            train_accuracy=self.correct / self.images,
            validation_loss=loss,
            validation_accuracy=accuracy,
            lr=lr,
            images_per_s=self.images / self.seconds,
            seconds=self.seconds,
            gradient_norms={stage: norm / self.steps for stage, norm in self.gradient_norms.items()},
        )


@dataclass(frozen=True, slots=True)
class _SplitOfRun:
    """What a run's start noted of a split, to tell whether it has changed."""

    fingerprint: str
    counts: dict[str, int]


@dataclass(slots=True)
class TrainingProgress:
    """Where a run stands. run: its id in the history. recipe, data: what it was started with, as JSON values.

    best_epoch: the one of the lowest validation loss, 0 before the first. sums: of the epoch under way.
    """

    run: str
    recipe: dict[str, Any]
    data: dict[str, Any]
    epochs: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    sums: EpochSums = field(default_factory=EpochSums)

    def add(self, record: EpochRecord) -> bool:
        """Append an epoch and start the next one. Return whether it is the best so far."""
        self.epochs.append(record)
        self.sums = EpochSums()
        best = record.validation_loss < self.best_loss
        if best:
            self.best_epoch, self.best_loss = record.epoch, record.validation_loss
        return best

    def stale_epochs(self) -> int:
        """Return how many epochs of the whole network passed since the best one."""
        return sum(record.phase == "all" and record.epoch > self.best_epoch for record in self.epochs)

    def to_dict(self) -> dict[str, Any]:
        """Return the progress as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> TrainingProgress:
        """Return the progress written by `to_dict`. Raises FormatError for anything else."""
        found = build(cls, value)
        for split in SPLITS:
            build(_SplitOfRun, found.data.get(split))
        if not 0 <= found.best_epoch <= len(found.epochs):
            raise FormatError(f"is {found.best_epoch}; expected one of {len(found.epochs)} epochs", "best_epoch")
        return found
