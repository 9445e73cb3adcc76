"""Validates a network on a split: loss, accuracy, confusion matrix, and the photos of the highest loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vegrt.files.text import as_utf8
from vegrt.train.data.loader import Batch
from vegrt.train.data.samples import DecodedPhotos
from vegrt.train.history.mistakes import Explanation, Mistake
from vegrt.train.loop.device import precision

HARDEST = 24  # number of photos of the highest loss that are recorded
MISTAKES = 200  # number of wrongly answered photos that are recorded, worst first


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The answers of a network for each photo.

    losses: cross-entropy, float32 (N,). answers, labels: classes, int64 (N,).
    """

    losses: Tensor
    answers: Tensor
    labels: Tensor

    @property
    def loss(self) -> float:
        """The mean cross-entropy."""
        return self.losses.double().mean().item()

    @property
    def accuracy(self) -> float:
        """The share of correct answers, in [0, 1]."""
        return (self.answers == self.labels).double().mean().item()

    def confusion(self, num_classes: int) -> list[list[int]]:
        """Return the number of photos by label (row) and answer (column), (K, K)."""
        pairs = torch.bincount(self.labels * num_classes + self.answers, minlength=num_classes**2)
        rows: list[list[int]] = pairs.view(num_classes, num_classes).tolist()
        return rows

    def hardest(self, count: int) -> list[int]:
        """Return the indices of the photos with the highest loss, worst first."""
        order: list[int] = self.losses.argsort(descending=True, stable=True)[:count].tolist()
        return order

    def explanation(self, classes: tuple[str, ...], photos: DecodedPhotos) -> Explanation:
        """Return what the history records of these answers. photos: those that were validated."""
        answers, labels, losses = self.answers.tolist(), self.labels.tolist(), self.losses.tolist()
        order = self.hardest(len(labels))
        wrong = [index for index in order if answers[index] != labels[index]]

        def mistake(index: int) -> Mistake:
            photo = photos.photos[index]
            return Mistake(as_utf8(photo.path.absolute()), classes[photo.label], classes[answers[index]], losses[index])

        return Explanation(
            classes=classes,
            confusion=tuple(map(tuple, self.confusion(len(classes)))),
            hardest=tuple(mistake(index) for index in order[:HARDEST]),
            mistakes=tuple(mistake(index) for index in wrong[:MISTAKES]),
        )


def validation_result(logits: Tensor, labels: Tensor) -> ValidationResult:
    """Return the result for float32 logits (N, K) and labels (N,), on their device."""
    return ValidationResult(cross_entropy(logits, labels, reduction="none"), logits.argmax(1), labels)


@torch.inference_mode()
def validate(model: nn.Module, batches: Iterable[Batch], device: torch.device) -> ValidationResult:
    """Return the result of `model` in evaluation mode on batches on its device. Reads the answers once, at the end."""
    model.eval()
    parts = []
    for images, labels in batches:
        with precision(device):
            parts.append(validation_result(model(images).float(), labels))
    return concatenate(parts)


def concatenate(parts: Sequence[ValidationResult]) -> ValidationResult:
    """Return the parts as one result on the CPU, in their order."""
    if not parts:
        return ValidationResult(torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    columns = zip(*((part.losses, part.answers, part.labels) for part in parts), strict=True)
    return ValidationResult(*(torch.cat(column).cpu() for column in columns))
