"""The first layer in which an exported graph differs from the torch network, found on one image and named as in torch.

In a graph, a BatchNorm is folded into the Conv before it, so a Conv is compared with the output of its BatchNorm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.graph.onnx_graph import expose_tensors
from vegrt.export.onnx.deployed import deployed
from vegrt.infer.runtimes.onnxruntime.session import read_tensors
from vegrt.networks import WithPreprocessing, load_network

_LAYERS = (nn.Conv2d, nn.Linear)
_NORMS = nn.BatchNorm2d


def first_divergence(bundle: Bundle, source: bytes, image: NDArray[np.uint8], tolerance: float) -> str:
    """Return the first layer of an ONNX graph that differs from torch, and by how much, in words.

    image: (H, W, 3) uint8. tolerance: largest norm of the difference, as a share of the norm of torch's own result.
    Where no difference exceeds the tolerance, the layer with the largest one is named.
    """
    model, expected = ir.from_proto(onnx.load_model_from_string(source)), layer_outputs(bundle, image)
    layers = {str(node.name): str(_result(node).name) for node in model.graph if str(node.name) in expected}
    if not layers:
        return "no layer of the graph has a torch module's name"
    graph_outputs = {str(value.name) for value in model.graph.outputs}
    inner = [name for name in layers.values() if name not in graph_outputs]
    read = read_tensors(expose_tensors(model, inner), list(layers.values()))
    actual = dict(zip(layers, read(image[None]), strict=True))
    errors = {name: _difference(expected[name], actual[name]) for name in layers}
    first = next((name for name, error in errors.items() if not error <= tolerance), "")
    if first:
        return f"first diverging layer {first}, by {errors[first]:.2g} of its norm"
    largest = max(errors, key=errors.__getitem__)
    return f"no layer diverges by {tolerance:.2g} of its norm, the largest difference is {errors[largest]:.2g} at {largest}"


def _result(node: ir.Node) -> ir.Value:
    """Return the result of a layer with its bias, which is an Add of its own behind a MatMul."""
    readers = node.outputs[0].consumers()
    if node.op_type != "MatMul" or len(readers) != 1 or readers[0].op_type != "Add":
        return node.outputs[0]
    has_bias = any(value is not None and value.is_initializer() for value in readers[0].inputs)
    return (readers[0] if has_bias else node).outputs[0]


def layer_outputs(bundle: Bundle, image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Return the result of each Conv and Linear of the checkpoint in its deployed form, by module name, after its BatchNorm."""
    network = WithPreprocessing(deployed(load_network(bundle)), bundle.manifest.contract).eval()
    results: dict[str, NDArray[np.float32]] = {}
    producers: dict[int, str] = {}  # data address of a Conv's result -> the Conv
    alive: list[Tensor] = []  # until the end, so that no address is used twice

    def record(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        owner = producers.get(inputs[0].data_ptr(), "") if isinstance(module, _NORMS) else name
        if owner:
            result = _normalised(module, inputs[0]) if isinstance(module, _NORMS) else output
            results[owner] = result.numpy().copy()  # an in-place activation would change it
        if isinstance(module, _LAYERS):
            producers[output.data_ptr()] = name
            alive.append(output)

    for name, module in network.network.named_modules():
        if isinstance(module, (*_LAYERS, _NORMS)):
            module.register_forward_hook(lambda *call, name=name: record(name, *call))
    with torch.inference_mode():
        network(torch.from_numpy(image[None].copy()))
    return results


def _normalised(norm: nn.BatchNorm2d, images: Tensor) -> Tensor:
    """Return what a BatchNorm makes of a Conv's result, without the activation that is a part of timm's BatchNormAct2d."""
    return functional.batch_norm(
        images, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=False, eps=norm.eps
    )


def _difference(expected: NDArray[np.float32], actual: NDArray[Any]) -> float:
    if expected.shape != actual.shape:
        return float("inf")
    return float(np.linalg.norm(expected - actual.astype(np.float32)) / max(float(np.linalg.norm(expected)), 1e-12))
