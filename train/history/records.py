"""The records of a training run: plain values that JSON stores exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vegrt.dataset.photos import SPLITS
from vegrt.errors import FormatError
from vegrt.schema import build

REST = "rest"  # name of the parameters outside all stages; some models of timm have them
Phase = Literal["head", "all"]
PHASES: dict[Phase, str] = {"head": "head alone", "all": "all layers"}  # display names, in the order of training


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One finished epoch.

    Both losses are cross-entropy without smoothing or weights; the training loss is measured on augmented photos.
    lr: learning rate of the last step. gradient_norms: mean over the steps, by stage, before clipping.
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
    """The running sums of an unfinished epoch. skipped: steps that changed no weight, because a gradient overflowed."""

    images: int = 0
    steps: int = 0
    loss: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    gradient_norms: dict[str, float] = field(default_factory=dict)
    skipped: int = 0

    def add(self, images: int, loss: float, correct: int, norms: Mapping[str, float] | None = None) -> None:
        """Add one step. loss: mean over its images. norms: gradient norm by stage."""
        self.images += images
        self.steps += 1
        self.loss += loss * images
        self.correct += correct
        for stage, norm in (norms or {}).items():
            self.gradient_norms[stage] = self.gradient_norms.get(stage, 0.0) + norm

    def add_skipped(self, images: int, loss: float, correct: int) -> None:
        """Add a step that changed no weight; its gradient norm is not finite."""
        self.add(images, loss, correct)
        self.skipped += 1

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
            gradient_norms={stage: norm / (self.steps - self.skipped) for stage, norm in self.gradient_norms.items()},
        )


@dataclass(frozen=True, slots=True)
class SplitRecord:
    """Facts on the photos of a split at the start of a run, to detect changes. counts: photos by class."""

    photos: int
    counts: dict[str, int]
    fingerprint: str


@dataclass(slots=True)
class TrainingProgress:
    """The progress of a run. run: its id in the history. recipe, data: its settings and photos at the start.

    best_epoch: the epoch with the lowest validation loss, 0 before the first. sums: of the current epoch.
    cached_versions: number of cached versions of each photo, 0 where none is cached; None before that is decided.
    """

    run: str
    recipe: dict[str, Any]
    data: dict[str, SplitRecord]
    epochs: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    sums: EpochSums = field(default_factory=EpochSums)
    cached_versions: int | None = None

    def add(self, record: EpochRecord) -> bool:
        """Append an epoch and start the next one. Return whether it is the best so far."""
        self.epochs.append(record)
        self.sums = EpochSums()
        best = record.validation_loss < self.best_loss
        if best:
            self.best_epoch, self.best_loss = record.epoch, record.validation_loss
        return best

    def stale_epochs(self) -> int:
        """Return the number of epochs of the second phase since the best epoch."""
        return sum(record.phase == "all" and record.epoch > self.best_epoch for record in self.epochs)

    def to_dict(self) -> dict[str, Any]:
        """Return the progress as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> TrainingProgress:
        """Return the progress written by `to_dict`. Raises FormatError for anything else."""
        progress = build(cls, value)
        if missing := [split for split in SPLITS if split not in progress.data]:
            raise FormatError("is missing", f"data.{missing[0]}")
        if not 0 <= progress.best_epoch <= len(progress.epochs):
            raise FormatError(f"is {progress.best_epoch}; expected one of {len(progress.epochs)} epochs", "best_epoch")
        return progress
