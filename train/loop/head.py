"""The first phase: trains only the head, on features that the frozen backbone computes once."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vegrt.errors import ModelError
from vegrt.train.data.loader import Batch, epoch_batches
from vegrt.train.history.records import EpochRecord, EpochSums
from vegrt.train.loop.device import precision, storage_device
from vegrt.train.loop.optimizer import Schedule, make_optimizer, set_rate
from vegrt.train.loop.validation import ValidationResult, validation_result
from vegrt.train.recipe import Recipe

_TOLERANCE = 0.05  # of the largest logit: the model may compute in bfloat16
_PART = 8192  # photos whose features are moved at once to a GPU that cannot hold all


@dataclass(frozen=True, slots=True)
class Features:
    """The input of the head for each photo: values, float32 (N, F), and labels, int64 (N,), on one device.

    shapes: of the input of each of the head's layers for one photo; F is the sum of their sizes.
    """

    values: Tensor
    labels: Tensor
    shapes: tuple[torch.Size, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


class Head(nn.Module):
    """The last layers of a network as one module: their inputs side by side, (N, F), to the mean of their logits, (N, K).

    layers: parts of the network. shapes: of the input of each for one photo.
    """

    def __init__(self, layers: Sequence[nn.Module], shapes: Sequence[torch.Size]) -> None:
        super().__init__()
        self.layers, self.shapes = nn.ModuleList(layers), shapes

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, K) logits; those of a convolution lose their two axes of one pixel."""
        parts = torch.split(features, [shape.numel() for shape in self.shapes], dim=1)
        logits: list[Tensor] = [
            layer(part.reshape(-1, *shape)).flatten(1)
            for layer, shape, part in zip(self.layers, self.shapes, parts, strict=True)
        ]
        return logits[0] if len(logits) == 1 else torch.stack(logits).mean(0)


@torch.no_grad()
def compute_features(
    model: nn.Module, layers: Sequence[nn.Module], batches: Iterable[Batch], count: int, device: torch.device
) -> Features:
    """Return the input of the head for `count` photos: on the device if its memory allows, else on the CPU.

    layers: the head's, parts of the model. batches: of all these photos, on the device. Raises ModelError when the model's logits
    are not those of the head.
    """
    inputs: dict[nn.Module, Tensor] = {}
    features, end = Features(torch.empty(0), torch.empty(0)), 0
    hooks = [layer.register_forward_pre_hook(lambda layer, args: inputs.update({layer: args[0]})) for layer in layers]
    try:
        model.eval()
        with precision(device):
            for images, labels in batches:
                logits = model(images)
                values = torch.cat([inputs[layer].float().flatten(1) for layer in layers], dim=1)
                if not end:
                    shapes = tuple(inputs[layer].shape[1:] for layer in layers)
                    _check_head(Head(layers, shapes), values, logits)
                    features = _room(values[0], shapes, count, device)
                start, end = end, end + len(values)
                features.values[start:end] = values
                features.labels[start:end] = labels
    finally:
        for hook in hooks:
            hook.remove()
    return features


def _check_head(head: Head, values: Tensor, logits: Tensor) -> None:
    """Raise ModelError unless the head has these (N, K) logits for these features."""
    difference = float((head(values).float() - logits.float()).abs().max()) if logits.ndim == 2 else math.inf
    if not difference <= _TOLERANCE * max(1.0, float(logits.float().abs().max())):
        raise ModelError("recipe: the head of this backbone cannot be trained alone; expected --epochs-head 0")


def _room(value: Tensor, shapes: tuple[torch.Size, ...], count: int, device: torch.device) -> Features:
    """Return room for the features of `count` photos, each like `value`."""
    storage = storage_device(count * value.nbytes, device)
    values = torch.empty((count, *value.shape), device=storage)
    return Features(values, torch.empty(count, dtype=torch.int64, device=storage), shapes)


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
