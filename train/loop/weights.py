"""Initial weights of a network: from torchvision, from a local file, or random."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from vegrt.backbones import Head, build_network, find_backbone
from vegrt.errors import ModelError, reason_of

log = logging.getLogger(__name__)

StateDict = dict[str, Tensor]


def initial_network(backbone: str, num_classes: int, *, head: Head, weights: str) -> nn.Module:
    """Return the network with the initial weights that `weights` names.

    weights: `imagenet`, `none` (random), or a .safetensors or .pth file. A head without fitting weights is random.
    Raises ModelError when the weights are missing or do not fit.
    """
    if weights == "imagenet":
        try:
            return build_network(backbone, num_classes, head=head, imagenet=True)
        except (URLError, OSError, RuntimeError) as error:  # RuntimeError: the download's checksum differs
            raise ModelError(
                f"imagenet weights of {backbone}: download failed ({error}); use a file instead: --weights FILE"
            ) from error
    network = build_network(backbone, num_classes, head=head)
    if weights != "none":
        load_weights(network, backbone, Path(weights))
    return network


def load_weights(network: nn.Module, backbone: str, file: Path) -> None:
    """Copy the weights of the file into the network, cast to its types.

    Copies the head only if all of it fits; otherwise the head is left unchanged (other classes, or a file without a head).
    Raises ModelError, which names the missing and the unexpected tensors.
    """
    weights = read_weights(file)
    state = network.state_dict()
    prefixes = tuple(f"{head}." for head in find_backbone(backbone).heads)
    head = {name for name in state if name.startswith(prefixes)}
    head_fits = all(name in weights and weights[name].shape == state[name].shape for name in head)
    if not head_fits:
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(prefixes)}
        log.info("%s: has no head for these classes; the head starts from random weights", file)
    _check_names_and_shapes(
        state.keys() - (set() if head_fits else head), state, weights, f"{file}: does not fit {backbone}"
    )
    network.load_state_dict(weights, strict=False)


def read_weights(file: Path) -> StateDict:
    """Return the tensors of a .safetensors or .pth file. Executes no code from the file."""
    if not file.is_file():
        raise ModelError(f"weights {str(file)!r}: no such file; expected imagenet, none, or a .safetensors or .pth")
    return _read_safetensors(file) if file.suffix == ".safetensors" else _read_pth(file)


def _read_safetensors(file: Path) -> StateDict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: damaged or not safetensors ({reason_of(error)})") from error


def _read_pth(file: Path) -> StateDict:
    try:
        value: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = reason_of(error)
        raise ModelError(f"{file}: not a file of plain tensors, as torch.save(state_dict) writes ({reason})") from error
    for wrapper in ("state_dict", "model"):  # where other training scripts store the state_dict
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
    if not isinstance(value, Mapping) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise ModelError(f"{file}: holds no state_dict; expected names and tensors only")
    return {str(name).removeprefix("module."): tensor for name, tensor in value.items()}


def _check_names_and_shapes(
    required: set[str], state: Mapping[str, Tensor], weights: Mapping[str, Tensor], subject: str
) -> None:
    """Raise ModelError unless `weights` has all required tensors of `state` in their shapes, and no others."""
    counters = {name for name in state if name.endswith("num_batches_tracked")}  # unused; old checkpoints lack them
    differing = sorted(name for name in required & weights.keys() if weights[name].shape != state[name].shape)
    problems = (
        ("missing", sorted(required - weights.keys() - counters)),
        ("unexpected", sorted(weights.keys() - state.keys())),
        ("of another shape", differing),
    )
    descriptions = [f"{kind}: {_shortened(names)}" for kind, names in problems if names]
    if descriptions:
        raise ModelError(f"{subject}; {'; '.join(descriptions)}; expected the tensor names and shapes of the network")


def _shortened(names: list[str]) -> str:
    remainder = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + remainder
