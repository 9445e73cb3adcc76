"""Validates a network on a split: loss, accuracy, confusion matrix, and the photos of the highest loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vegrt.train.loop.device import precision


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


def validation_result(logits: Tensor, labels: Tensor) -> ValidationResult:
    """Return the result for float32 logits (N, K) and labels (N,)."""
    logits, labels = logits.cpu(), labels.cpu()
    return ValidationResult(cross_entropy(logits, labels, reduction="none"), logits.argmax(1), labels)


@torch.inference_mode()
def validate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> ValidationResult:
    """Return the result of `model` in evaluation mode on batches of its input and labels."""
    model.eval()
    parts = []
    for images, truth in batches:
        with precision(device):
            parts.append(validation_result(model(images.to(device)).float(), truth))
    return concatenate(parts)


def concatenate(parts: Sequence[ValidationResult]) -> ValidationResult:
    """Return the parts as one result, in their order."""
    none = ValidationResult(torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    columns = zip(*((part.losses, part.answers, part.labels) for part in (none, *parts)), strict=True)
    return ValidationResult(*map(torch.cat, columns))
