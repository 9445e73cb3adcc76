"""Trains a network step by step: holds the network, its optimizer, its averaged copy and the state to resume from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from vegrt.backbones import find_backbone
from vegrt.networks import WithPreprocessing
from vegrt.train.contract import contract_of_recipe
from vegrt.train.loop.averaging import WeightAverage
from vegrt.train.loop.device import number_format, precision
from vegrt.train.loop.freeze import freeze, frozen_modules, parameters_by_stage, set_training
from vegrt.train.loop.optimizer import make_optimizer, set_rate
from vegrt.train.loop.processes import ProcessGroup
from vegrt.train.loop.saved_state import (
    network_tensors,
    optimizer_tensors,
    restore_optimizer,
    restore_scaler,
    scaler_tensors,
    with_prefix,
)
from vegrt.train.loop.split_network import split_at
from vegrt.train.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Step:
    """The results of one step. objective: the minimised value; loss: plain cross-entropy, mean over the images.

    is_skipped: whether a gradient overflowed in float16, which changed no weight and halved the loss scale.
    """

    objective: float
    loss: float
    correct: int
    gradient_norms: dict[str, float]
    is_skipped: bool = False

    def is_finite(self) -> bool:
        """Return whether neither the loss nor a gradient overflowed."""
        return all(map(math.isfinite, (self.objective, *self.gradient_norms.values())))


class Learner:
    """Trains a network except for its frozen stages. Owns the network and moves it to the device.

    model: used in training; returns logits (N, K) for uint8 (N, H, W, 3), or for activations after `skip_frozen`.
    evaluation_model: used in validation; the same with averaged weights, if the recipe has them.
    dtype: number format of convolutions and products; by default the device's. float16 scales the loss.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        device: torch.device,
        class_weights: Tensor | None,
        processes: ProcessGroup | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.processes = processes or ProcessGroup()
        self.dtype = dtype or number_format(device)
        backbone = find_backbone(recipe.backbone)
        self.contract = contract_of_recipe(recipe)
        self.recipe = recipe
        self.device = device
        self.class_weights = None if class_weights is None else class_weights.to(device)
        self.network = channels_last(network.to(device))
        self.frozen = frozen_modules(self.network, backbone, recipe.freeze_until)
        freeze(self.network, backbone, self.frozen)
        self.stages = parameters_by_stage(self.network, backbone)
        self.optimizer = make_optimizer(self.network, recipe.lr, recipe.weight_decay)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.average = WeightAverage(self.network, recipe.ema) if recipe.ema else None
        self.evaluation_model: nn.Module = WithPreprocessing(self.evaluated_network, self.contract).to(device)
        self.model = self._compiled(WithPreprocessing(self.network, self.contract).to(device))

    @property
    def evaluated_network(self) -> nn.Module:
        """The network with averaged weights if the recipe has them, else the trained network."""
        return self.network if self.average is None else self.average.network

    @property
    def applied_steps(self) -> Tensor | None:
        """The number of steps that changed the weights, float32 () on the device; None where every step does."""
        if not self.scaler.is_enabled():
            return None
        states = iter(self.optimizer.state.values())
        return next(states, {"step": torch.zeros((), device=self.device)})["step"]

    def step(self, images: Tensor, labels: Tensor, *, lr: float | Tensor, seed: int) -> Tensor:
        """Take one step with a batch on the device and return its measures, for `read`. Never waits for the device.

        Leaves the weights unchanged when the loss or a gradient is not finite. seed: of the randomness in the network (dropout).
        """
        torch.manual_seed(seed)
        set_training(self.model, self.frozen)
        with precision(self.device, self.dtype):
            logits = self.model(images).float()
        objective = self._objective(images, logits, labels)
        self.optimizer.zero_grad()
        self.scaler.scale(objective).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        norms = torch.stack(
            [get_total_norm([p.grad for p in stage if p.grad is not None]) for stage in self.stages.values()]
        )
        logits = logits.detach()
        correct = (logits.argmax(1) == labels).sum().float()
        measures = torch.cat([torch.stack([objective.detach(), cross_entropy(logits, labels), correct]), norms])
        self._apply(lr, norms, is_finite=measures.isfinite().all().float())
        return measures

    def read(self, measures: Sequence[Tensor]) -> list[Step]:
        """Return the results of steps, means over the processes. Waits until the device has taken all of them."""
        rows = self.processes.mean(torch.stack(list(measures))).tolist()  # one transfer
        return [self._result(*row) for row in rows]

    def has_underflowed(self) -> bool:
        """Return whether gradients overflow in float16 even with a loss scale below 1. Waits for the device."""
        return self.scaler.is_enabled() and self.scaler.get_scale() < 1

    def connect(self) -> None:
        """Average the gradients with those of the other processes from now on."""
        self.model = self.processes.connect(self.model)
        if self.average is not None:
            self.processes.align(self.average.network)

    def frozen_part(self) -> nn.Module:
        """Return the frozen stages: from uint8 (N, H, W, 3) to the activations that the model takes after `skip_frozen`."""
        return WithPreprocessing(self._split(self.network)[0], self.contract).to(self.device)

    def skip_frozen(self) -> None:
        """Take activations of the frozen stages instead of images from now on."""
        self.model = self._compiled(self._split(self.network)[1])
        self.evaluation_model = self._split(self.evaluated_network)[1]

    def restart_average(self) -> None:
        """Reset the averaged weights to the network's current weights."""
        if self.average is not None:
            self.average.restart()

    def evaluated_weights(self) -> dict[str, Tensor]:
        """Return the weights of the evaluation model, contiguous, on the CPU."""
        return network_tensors(self.evaluated_network)

    def state(self) -> dict[str, Tensor]:
        """Return all tensors that `restore` needs, contiguous, on the CPU."""
        parts = {
            "network": network_tensors(self.network),
            "averaged": {} if self.average is None else network_tensors(self.average.network),
            "optimizer": optimizer_tensors(self.optimizer, self.network),
            "scaler": scaler_tensors(self.scaler),
        }
        return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore a `state`."""
        self.network.load_state_dict(with_prefix("network.", tensors))
        if self.average is not None:
            self.average.network.load_state_dict(with_prefix("averaged.", tensors))
        restore_optimizer(self.optimizer, self.network, with_prefix("optimizer.", tensors))
        restore_scaler(self.scaler, with_prefix("scaler.", tensors))

    def _objective(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the value that a step minimises."""
        smoothing = self.recipe.label_smoothing
        objective = cross_entropy(logits, labels, weight=self.class_weights, label_smoothing=smoothing)
        if self.class_weights is not None and self.processes.size > 1:  # divide by the weights of the whole batch
            divisor = self.class_weights[labels].sum()
            objective = objective * divisor / self.processes.mean(divisor)
        return objective

    def _split(self, network: nn.Module) -> tuple[nn.Module, nn.Module]:
        return split_at(network, find_backbone(self.recipe.backbone), self.recipe.freeze_until)

    def _compiled(self, model: nn.Module) -> nn.Module:
        return cast(nn.Module, torch.compile(model)) if self.recipe.compile else model

    def _result(self, objective: float, loss: float, correct: float, *norms: float) -> Step:
        is_skipped = self.scaler.is_enabled() and math.isfinite(objective) and not all(map(math.isfinite, norms))
        correct_of_all = round(correct * self.processes.size)
        return Step(objective, loss, correct_of_all, dict(zip(self.stages, norms, strict=True)), is_skipped)

    def _apply(self, lr: float | Tensor, norms: Tensor, *, is_finite: Tensor) -> None:
        """Clip the gradients and move the weights, unless `is_finite` is 0 on the device."""
        if self.recipe.clip_norm:
            total = torch.linalg.vector_norm(norms, dtype=torch.float64).float()
            parameters = [parameter for stage in self.stages.values() for parameter in stage]
            clip_grads_with_norm_(parameters, self.recipe.clip_norm, total)
        set_rate(self.optimizer, lr)
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.found_inf = 1 - is_finite  # type: ignore[attr-defined]  # as GradScaler tells a fused optimizer
            self.optimizer.step()
        if self.average is not None:
            self.average.follow(is_finite if self.scaler.is_enabled() else None)


def channels_last(module: nn.Module) -> nn.Module:
    """Return the module with its weights in NHWC memory layout, which is faster for convolutions on CPUs and GPUs."""
    return module.to(memory_format=torch.channels_last)
