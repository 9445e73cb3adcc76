"""Where an exported graph leaves the torch network: layer by layer on one image, under the modules' names.

A graph's Conv has the BatchNorm that follows it in torch folded in, so it is compared with what that BatchNorm gives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.graph import expose_tensors
from vegrt.infer.runtimes.onnxruntime import read_tensors
from vegrt.networks import WithPreprocessing, load_network

_LAYERS = (nn.Conv2d, nn.Linear)
_NORMS = (nn.BatchNorm2d,)


def first_divergence(bundle: Bundle, source: bytes, image: NDArray[np.uint8], tolerance: float) -> str:
    """Return which layer of an ONNX graph is the first to differ from torch, and by how much, in words.

    image: (H, W, 3) uint8. tolerance: largest norm of the difference, as a share of the norm of torch's own result.
    The layer with the largest difference is named where none exceeds the tolerance.
    """
    model, want = ir.from_proto(onnx.load_model_from_string(source)), layer_outputs(bundle, image)
    layers = {str(node.name): str(node.outputs[0].name) for node in model.graph if str(node.name) in want}
    if not layers:
        return "no layer of the graph has a torch module's name"
    given = {str(value.name) for value in model.graph.outputs}
    read = read_tensors(
        expose_tensors(model, [name for name in layers.values() if name not in given]), list(layers.values())
    )
    got = dict(zip(layers, read(image[None]), strict=True))
    errors = {name: _difference(want[name], got[name]) for name in layers}
    first = next((name for name, error in errors.items() if not error <= tolerance), "")
    if first:
        return f"first diverging layer {first}, by {errors[first]:.2g} of its norm"
    largest = max(errors, key=errors.__getitem__)
    return f"no layer diverges by {tolerance:.2g} of its norm, the furthest is {largest}, by {errors[largest]:.2g}"


def layer_outputs(bundle: Bundle, image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Return what each Conv and Linear of the checkpoint gives for one image, by module name, behind its BatchNorm."""
    network = WithPreprocessing(load_network(bundle), bundle.manifest.contract).eval()
    found: dict[str, NDArray[np.float32]] = {}
    makers: dict[int, str] = {}  # data address of a Conv's result -> the Conv
    kept: list[Tensor] = []  # alive until the end, so that no address is used twice

    def record(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        owner = makers.get(inputs[0].data_ptr(), "") if isinstance(module, _NORMS) else name
        if owner:
            found[owner] = output.numpy().copy()  # an activation in place would change it
        if isinstance(module, _LAYERS):
            makers[output.data_ptr()] = name
            kept.append(output)

    for name, module in network.network.named_modules():
        if isinstance(module, _LAYERS + _NORMS):
            module.register_forward_hook(lambda *call, name=name: record(name, *call))
    with torch.inference_mode():
        network(torch.from_numpy(image[None].copy()))
    return found


def _difference(want: NDArray[np.float32], got: NDArray[Any]) -> float:
    if want.shape != got.shape:
        return float("inf")
    return float(np.linalg.norm(want - got.astype(np.float32)) / max(float(np.linalg.norm(want)), 1e-12))
