"""Trains a network step by step: holds the network, its optimizer, its averaged copy and the state to resume from."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from vegrt.backbones import contract_of, find_backbone
from vegrt.networks import WithPreprocessing
from vegrt.train.loop.device import precision
from vegrt.train.loop.freeze import freeze, frozen_modules, parameters_by_stage, set_training
from vegrt.train.loop.processes import ProcessGroup
from vegrt.train.loop.split_network import split_at
from vegrt.train.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Step:
    """The results of one step. objective: the minimised value; loss: plain cross-entropy, mean over the images."""

    objective: float
    loss: float
    correct: int
    gradient_norms: dict[str, float]

    def is_finite(self) -> bool:
        """Return whether neither the loss nor a gradient overflowed."""
        return all(map(math.isfinite, (self.objective, *self.gradient_norms.values())))


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Return the learning rate of a step in [0, steps): a linear rise in the share `warmup`, then half a cosine to zero."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def make_optimizer(module: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters; vectors (biases, norms) do not decay."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = {"params": [parameter for parameter in trainable if parameter.ndim > 1], "weight_decay": weight_decay}
    vectors = {"params": [parameter for parameter in trainable if parameter.ndim <= 1], "weight_decay": 0.0}
    return torch.optim.AdamW([matrices, vectors], lr=lr, fused=True)  # fused: a third of the default's time on a CPU


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use this learning rate for all parameters from now on."""
    for group in optimizer.param_groups:
        group["lr"] = lr


class Learner:
    """Trains a network except for its frozen stages. Owns the network and moves it to the device.

    model: used in training; returns logits (N, K) for uint8 (N, H, W, 3), or for activations after `skip_frozen`.
    evaluation_model: used in validation; the same with averaged weights, if the recipe has them.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        device: torch.device,
        class_weights: Tensor | None,
        processes: ProcessGroup | None = None,
    ) -> None:
        self.processes = processes or ProcessGroup()
        backbone = find_backbone(recipe.backbone)
        self.contract = contract_of(recipe.backbone, recipe.size)
        self.recipe = recipe
        self.device = device
        self.class_weights = None if class_weights is None else class_weights.to(device)
        self.network = channels_last(network.to(device))
        self.frozen = frozen_modules(self.network, backbone, recipe.freeze_until)
        freeze(self.network, backbone, self.frozen)
        self.stages = parameters_by_stage(self.network, backbone)
        self.optimizer = make_optimizer(self.network, recipe.lr, recipe.weight_decay)
        self.averaged = copy.deepcopy(self.network).requires_grad_(False) if recipe.ema else None
        evaluated = self.network if self.averaged is None else self.averaged
        self.evaluation_model: nn.Module = WithPreprocessing(evaluated, self.contract).to(device)
        self.model = self._compiled(WithPreprocessing(self.network, self.contract).to(device))

    def step(self, images: Tensor, labels: Tensor, *, lr: float, seed: int) -> Step:
        """Take one step. Leaves the weights unchanged when the loss or a gradient is not finite.

        seed: of the randomness in the network (dropout).
        """
        torch.manual_seed(seed)
        set_training(self.model, self.frozen)
        images, labels = images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
        with precision(self.device):
            logits = self.model(images).float()
        objective = self._objective(images, logits, labels)
        self.optimizer.zero_grad()
        objective.backward()  # type: ignore[no-untyped-call]
        step = self._measured(objective.detach(), logits.detach(), labels)
        if step.is_finite():
            self._apply(lr, step)
        return step

    def connect(self) -> None:
        """Average the gradients with those of the other processes from now on."""
        self.model = self.processes.connect(self.model)
        if self.averaged is not None:
            self.processes.align(self.averaged)

    def frozen_part(self) -> nn.Module:
        """Return the frozen stages: from uint8 (N, H, W, 3) to the activations that the model takes after `skip_frozen`."""
        return WithPreprocessing(self._split(self.network)[0], self.contract).to(self.device)

    def skip_frozen(self) -> None:
        """Take activations of the frozen stages instead of images from now on."""
        self.model = self._compiled(self._split(self.network)[1])
        self.evaluation_model = self._split(self.network if self.averaged is None else self.averaged)[1]

    def restart_average(self) -> None:
        """Reset the averaged weights to the network's current weights."""
        if self.averaged is not None:
            self.averaged.load_state_dict(self.network.state_dict())

    def evaluated_weights(self) -> dict[str, Tensor]:
        """Return the weights of the evaluation model, contiguous, on the CPU."""
        return _stored(self.network if self.averaged is None else self.averaged)

    def state(self) -> dict[str, Tensor]:
        """Return all tensors that `restore` needs, contiguous, on the CPU."""
        tensors = {f"network.{name}": tensor for name, tensor in _stored(self.network).items()}
        if self.averaged is not None:
            tensors |= {f"averaged.{name}": tensor for name, tensor in _stored(self.averaged).items()}
        for name, parameter in self.network.named_parameters():
            for key, tensor in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = tensor.detach().cpu().contiguous()
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore a `state`. The optimizer's tensors get the memory layout of their parameter: fused AdamW assumes it."""
        self.network.load_state_dict(_under("network.", tensors))
        if self.averaged is not None:
            self.averaged.load_state_dict(_under("averaged.", tensors))
        for key in ("exp_avg", "exp_avg_sq", "step"):
            moments = _under(f"optimizer.{key}.", tensors)
            for name, parameter in self.network.named_parameters():
                if name in moments:
                    like = parameter.detach() if key != "step" else torch.zeros((), device=self.device)
                    self.optimizer.state[parameter][key] = torch.empty_like(like).copy_(moments[name])

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

    def _measured(self, objective: Tensor, logits: Tensor, labels: Tensor) -> Step:
        correct = (logits.argmax(1) == labels).sum().float()
        norms = [get_total_norm([p.grad for p in group if p.grad is not None]) for group in self.stages.values()]
        means = self.processes.mean(torch.stack([objective, cross_entropy(logits, labels), correct, *norms]))
        values = means.tolist()  # one transfer
        correct_of_all = round(values[2] * self.processes.size)
        return Step(values[0], values[1], correct_of_all, dict(zip(self.stages, values[3:], strict=True)))

    def _apply(self, lr: float, step: Step) -> None:
        if self.recipe.clip_norm:
            total = torch.tensor(math.hypot(*step.gradient_norms.values()), device=self.device)
            parameters = [parameter for group in self.stages.values() for parameter in group]
            clip_grads_with_norm_(parameters, self.recipe.clip_norm, total)
        set_rate(self.optimizer, lr)
        self.optimizer.step()
        if self.averaged is not None:
            _move(self.averaged, self.network, 1 - self.recipe.ema)


def channels_last(module: nn.Module) -> nn.Module:
    """Return the module with its weights in NHWC memory layout, which is faster for convolutions on CPUs and GPUs."""
    return module.to(memory_format=torch.channels_last)


@torch.no_grad()
def _move(averaged: nn.Module, network: nn.Module, share: float) -> None:
    """Move the averaged weights and statistics by `share` of the way towards the network's; copy the counters."""
    for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, share)
        else:
            mean.copy_(value)


def _stored(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
