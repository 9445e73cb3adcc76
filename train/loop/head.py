"""The first phase: trains only the head, on features that the frozen backbone computes once."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vegrt.train.data.loader import Batch, epoch_batches
from vegrt.train.history.records import EpochRecord, EpochSums
from vegrt.train.loop.device import precision, storage_device
from vegrt.train.loop.optimizer import Schedule, make_optimizer, set_rate
from vegrt.train.loop.validation import ValidationResult, validation_result
from vegrt.train.recipe import Recipe

_PART = 8192  # photos whose features are moved at once to a GPU that cannot hold all


@dataclass(frozen=True, slots=True)
class Features:
    """The input of the head for each photo: values, float32 (N, ...), and labels, int64 (N,), on one device."""

    values: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@torch.no_grad()
def compute_features(
    model: nn.Module, head: nn.Module, batches: Iterable[Batch], count: int, device: torch.device
) -> Features:
    """Return the input of the head for `count` photos: on the device if its memory allows, else on the CPU.

    head: a part of the model. batches: of all these photos, on the device.
    """
    inputs_of_head: list[Tensor] = []
    features, end = Features(torch.empty(0), torch.empty(0)), 0
    hook = head.register_forward_pre_hook(lambda _, inputs: inputs_of_head.append(inputs[0].float()))
    try:
        model.eval()
        with precision(device):
            for images, labels in batches:
                model(images)
                values = inputs_of_head.pop()
                if not end:
                    features = _room(values[0], count, device)
                start, end = end, end + len(values)
                features.values[start:end] = values
                features.labels[start:end] = labels
    finally:
        hook.remove()
    return features


def _room(value: Tensor, count: int, device: torch.device) -> Features:
    """Return room for the features of `count` photos, each like `value`."""
    storage = storage_device(count * value.nbytes, device)
    values = torch.empty((count, *value.shape), device=storage)
    return Features(values, torch.empty(count, dtype=torch.int64, device=storage))


def train_head(
    head: nn.Module, recipe: Recipe, train: Features, validation: Features, class_weights: Tensor | None
) -> Iterator[tuple[EpochRecord, ValidationResult]]:
    """Train the head in place and yield every epoch; at the end it has the weights of the best epoch."""
    optimizer = make_optimizer(head, recipe.lr_head, recipe.weight_decay)
    best_loss, best_weights = math.inf, head.state_dict()
    for epoch in range(1, recipe.epochs_head + 1):
        start = time.perf_counter()
        sums = _epoch(head, recipe, optimizer, train, class_weights, epoch)
        sums.seconds = time.perf_counter() - start
        result = _validate(head, validation)
        if result.loss < best_loss:
            best_loss, best_weights = result.loss, copy.deepcopy(head.state_dict())
        yield sums.finish(epoch, "head", result.loss, result.accuracy, optimizer.param_groups[0]["lr"]), result
    head.load_state_dict(best_weights)


def _epoch(
    head: nn.Module,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    train: Features,
    class_weights: Tensor | None,
    epoch: int,
) -> EpochSums:
    """Train for one epoch. Reads the losses of its steps once, at its end."""
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)
    head.train()
    device = _device_of(head)
    batches = epoch_batches(len(train), recipe.batch_size, seed=recipe.seed, epoch=epoch)
    photos = torch.tensor([[draw.photo for draw in batch] for batch in batches], device=train.labels.device)
    schedule = Schedule(recipe.epochs_head * len(batches), recipe.lr_head, recipe.warmup)
    measures: list[Tensor] = []
    for index, indices in enumerate(photos, start=(epoch - 1) * len(batches)):
        labels = train.labels[indices].to(device)
        logits = head(train.values[indices].to(device))
        loss = cross_entropy(logits, labels, weight=class_weights, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        set_rate(optimizer, schedule.rate(index))
        optimizer.step()
        measures.append(
            torch.stack([cross_entropy(logits.detach(), labels), (logits.argmax(1) == labels).sum().float()])
        )
    sums = EpochSums()
    for batch, (plain_loss, correct) in zip(batches, torch.stack(measures).tolist(), strict=True):
        sums.add(len(batch), plain_loss, int(correct))
    return sums


@torch.no_grad()
def _validate(head: nn.Module, features: Features) -> ValidationResult:
    device = _device_of(head)
    parts = (features.values,) if features.values.device == device else torch.split(features.values, _PART)
    logits = torch.cat([head.eval()(part.to(device)) for part in parts])
    return validation_result(logits.cpu(), features.labels.cpu())


def _device_of(head: nn.Module) -> torch.device:
    return next(head.parameters()).device
