"""The first phase: trains only the head, on features that the frozen backbone computes once."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vegrt.train.data.loader import epoch_batches
from vegrt.train.history.records import EpochRecord, EpochSums
from vegrt.train.loop.device import precision
from vegrt.train.loop.learner import learning_rate, make_optimizer, set_rate
from vegrt.train.loop.validation import ValidationResult, validation_result
from vegrt.train.recipe import Recipe

Features = tuple[Tensor, Tensor]  # float32 (N, F), int64 (N,)


@torch.no_grad()
def compute_features(
    model: nn.Module, head: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> Features:
    """Return the input of the head for each photo, and the labels, on the device. head: a part of the model."""
    inputs_of_head: list[Tensor] = []
    labels: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: inputs_of_head.append(inputs[0].float()))
    try:
        model.eval()
        with precision(device):
            for images, batch_labels in batches:
                model(images.to(device))
                labels.append(batch_labels.to(device))
    finally:
        hook.remove()
    return torch.cat(inputs_of_head), torch.cat(labels)


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
        with torch.no_grad():
            result = validation_result(head.eval()(validation[0]), validation[1])
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
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)
    head.train()
    sums = EpochSums()
    batches = epoch_batches(len(train[1]), recipe.batch_size, seed=recipe.seed, epoch=epoch)
    for index, batch in enumerate(batches, start=(epoch - 1) * len(batches)):
        indices = torch.tensor([draw.photo for draw in batch], device=train[1].device)
        logits, labels = head(train[0][indices]), train[1][indices]
        loss = cross_entropy(logits, labels, weight=class_weights, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        set_rate(optimizer, learning_rate(index, recipe.epochs_head * len(batches), recipe.lr_head, recipe.warmup))
        optimizer.step()
        plain = cross_entropy(logits.detach(), labels).item()
        sums.add(len(batch), plain, int((logits.argmax(1) == labels).sum()))
    return sums
