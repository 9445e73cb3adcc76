"""The stages of a backbone: freezes their weights and groups parameters by stage."""

from __future__ import annotations

from torch import nn

from vegrt.backbones import Backbone
from vegrt.errors import ModelError
from vegrt.train.history.records import REST

HEAD = "head"


def stage_names(backbone: Backbone) -> tuple[str, ...]:
    """Return the names of the stages, from the input to the output; a stage has the name of its first module."""
    return tuple(stage[0] for stage in backbone.stages)


def check_stage(backbone: Backbone, name: str) -> None:
    """Raise ModelError, which lists the stages, unless `name` is a stage or empty."""
    if name and name not in stage_names(backbone):
        raise ModelError(
            f"freeze_until {name!r}: no such stage of {backbone.name}; expected one of {', '.join(stage_names(backbone))}"
        )


def frozen_modules(network: nn.Module, backbone: Backbone, until: str) -> list[nn.Module]:
    """Return the modules of all stages up to and including `until`, a valid name; none if it is empty."""
    count = stage_names(backbone).index(until) + 1 if until else 0
    return [network.get_submodule(name) for stage in backbone.stages[:count] for name in stage]


def freeze(network: nn.Module, backbone: Backbone, modules: list[nn.Module]) -> None:
    """Freeze these modules and, if there are any, all parameters outside the stages and the head.

    `set_training` keeps the statistics of their batch normalisations unchanged.
    """
    for module in modules:
        module.requires_grad_(False)
    prefixes = tuple(
        f"{name}."
        for stage in (*backbone.stages, tuple(head.partition(".")[0] for head in backbone.heads))
        for name in stage
    )
    for name, parameter in network.named_parameters():
        if modules and not name.startswith(prefixes):  # such as a position embedding
            parameter.requires_grad_(False)


def set_training(model: nn.Module, frozen: list[nn.Module]) -> None:
    """Put the model in training mode, but the frozen modules in evaluation mode, which keeps their statistics."""
    model.train()
    for module in frozen:
        module.eval()


def parameters_by_stage(network: nn.Module, backbone: Backbone) -> dict[str, list[nn.Parameter]]:
    """Return the trainable parameters by stage, of the head, and of neither (REST), without empty groups."""
    groups: dict[str, list[nn.Parameter]] = {}
    for names in (*backbone.stages, backbone.heads):
        parameters = [parameter for name in names for parameter in network.get_submodule(name).parameters()]
        label = HEAD if names == backbone.heads else names[0]
        groups[label] = [parameter for parameter in parameters if parameter.requires_grad]
    grouped = {id(parameter) for group in groups.values() for parameter in group}
    outside = [item for item in network.parameters() if item.requires_grad and id(item) not in grouped]
    return {label: group for label, group in (*groups.items(), (REST, outside)) if group}
