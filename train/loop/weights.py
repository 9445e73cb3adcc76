"""Where a network's first weights come from: torchvision, a local file, or chance."""

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
from vegrt.errors import ModelError

log = logging.getLogger(__name__)

StateDict = dict[str, Tensor]


def initial_network(backbone: str, num_classes: int, *, head: Head, weights: str) -> nn.Module:
    """Return the network with a fresh head; its backbone's weights are those that `weights` names.

    weights: `imagenet`, `none`, or a .safetensors or .pth file. Raises ModelError when they are absent or do not fit.
    """
    if weights == "imagenet":
        try:
            return build_network(backbone, num_classes, head=head, imagenet=True)
        except (URLError, OSError, RuntimeError) as error:  # RuntimeError: the download's checksum differs
            raise ModelError(
                f"imagenet weights of {backbone}: no download ({error}); give a file: --weights FILE"
            ) from error
    network = build_network(backbone, num_classes, head=head)
    if weights != "none":
        load_weights(network, backbone, Path(weights))
    return network


def load_weights(network: nn.Module, backbone: str, file: Path) -> None:
    """Copy the file's weights into the network, cast to its types.

    The head is taken when it fits as a whole; otherwise it stays as it is (other classes, or a file without one).
    Raises ModelError that names the missing and the unexpected tensors.
    """
    found = read_weights(file)
    own = network.state_dict()
    prefix = find_backbone(backbone).head + "."
    head = {name for name in own if name.startswith(prefix)}
    fits = all(name in found and found[name].shape == own[name].shape for name in head)
    if not fits:
        found = {name: tensor for name, tensor in found.items() if not name.startswith(prefix)}
        log.info("%s: no head for these classes in it; the head starts from random weights", file)
    _check(own.keys() - (set() if fits else head), own, found, f"{file}: does not fit {backbone}")
    network.load_state_dict(found, strict=False)


def read_weights(file: Path) -> StateDict:
    """Return the tensors of a .safetensors or .pth file. Nothing in the file is executed."""
    if not file.is_file():
        raise ModelError(f"weights {str(file)!r}: no such file; expected imagenet, none, or a .safetensors or .pth")
    return _read_safetensors(file) if file.suffix == ".safetensors" else _read_pth(file)


def _read_safetensors(file: Path) -> StateDict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: damaged or not safetensors ({error})") from error


def _read_pth(file: Path) -> StateDict:
    try:
        value: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ModelError(f"{file}: not a file of plain tensors, as torch.save(state_dict) writes ({reason})") from error
    for wrapper in ("state_dict", "model"):  # where other training scripts put it
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
    if not isinstance(value, Mapping) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise ModelError(f"{file}: holds no state_dict; expected names and tensors only")
    return {str(name).removeprefix("module."): tensor for name, tensor in value.items()}


def _check(wanted: set[str], own: Mapping[str, Tensor], found: Mapping[str, Tensor], subject: str) -> None:
    counters = {name for name in own if name.endswith("num_batches_tracked")}  # absent from old checkpoints, unused
    differing = sorted(name for name in wanted & found.keys() if found[name].shape != own[name].shape)
    problems = (
        ("missing", sorted(wanted - found.keys() - counters)),
        ("unexpected", sorted(found.keys() - own.keys())),
        ("of another shape", differing),
    )
    words = [f"{kind}: {_some(names)}" for kind, names in problems if names]
    if words:
        raise ModelError(f"{subject}; {'; '.join(words)}; expected the architecture's own names")


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + rest
