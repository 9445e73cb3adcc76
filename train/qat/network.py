"""An exported graph run with a torch network's own weights: with the Q/DQ pairs of the graph, it answers as 8 bits will.

The graph is the quantized one that an export writes, so placement and scales are the same by construction. Gradients go
straight through rounding and stop at what a range clips (Jacob et al., 2018, arXiv:1712.05877).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn import functional

from vegrt.errors import ModelError
from vegrt.train.qat.operators import Operator, convolution, operator

_TINY = float(np.finfo(np.float16).tiny)  # the least scale of a weight, as in vegrt.calibration.encode


@dataclass(frozen=True, slots=True)
class _Step:
    """One node. inputs: names of tensors, None for one that is left out."""

    output: str
    inputs: tuple[str | None, ...]
    run: Operator


class GraphNetwork(nn.Module):
    """Runs a graph on uint8 (N, H, W, 3) to logits (N, K), with the weights of `network` in it, which train.

    Batch normalisation keeps its statistics and is folded into the weights, as in the graph. levels: largest magnitude of
    a quantized weight.
    """

    def __init__(self, network: nn.Module, model: ir.Model, size: int, levels: int) -> None:
        super().__init__()
        self.network, self.levels = network, levels
        self._norms = _norms_behind(network, size)
        self._constants: dict[str, str] = {}  # tensor name -> buffer
        self._images, self._logits = str(model.graph.inputs[0].name), str(model.graph.outputs[0].name)
        self._steps = [self._step(node) for node in model.graph if not _is_stored(node)]

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, K) float32 logits. Not in bfloat16, whose steps are as coarse as those of 8 bits."""
        values: dict[str | None, Tensor | None] = {
            name: self.get_buffer(buffer) for name, buffer in self._constants.items()
        }
        values |= {None: None, self._images: images}
        with torch.autocast(images.device.type, enabled=False):
            for step in self._steps:
                values[step.output] = step.run(*(values[name] for name in step.inputs))
        logits = values[self._logits]
        if logits is None:
            raise AssertionError("a graph ends with its logits")
        return logits

    def _step(self, node: ir.Node) -> _Step:
        output = str(node.outputs[0].name)
        if node.op_type in {"Conv", "Gemm"}:
            return _Step(output, (self._read(node.inputs[0]),), self._layer(node))
        if node.op_type == "QuantizeLinear":
            return _Step(output, (self._read(node.inputs[0]),), _fake_quantize(node))
        if node.op_type == "DequantizeLinear":
            return _Step(output, (self._read(node.inputs[0]),), operator(node))
        return _Step(output, tuple(self._read(value) for value in node.inputs), operator(node))

    def _read(self, value: ir.Value | None) -> str | None:
        """Return a tensor's name; a constant becomes a buffer, which moves to the device with the module."""
        if value is None:
            return None
        name = str(value.name)
        if value.const_value is not None and name not in self._constants:
            self._constants[name] = f"constant{len(self._constants)}"
            self.register_buffer(
                self._constants[name], torch.from_numpy(value.const_value.numpy().copy()), persistent=False
            )
        return name

    def _layer(self, node: ir.Node) -> Operator:
        module = _module(self.network, node)
        norm, quantized = self._norms.get(module), _is_quantized(node)
        apply = convolution(node) if node.op_type == "Conv" else functional.linear

        def run(data: Tensor) -> Tensor:
            weight, bias = _folded(module, norm)
            return apply(data, fake_quantized(weight, self.levels) if quantized else weight, bias)

        return run


def fake_quantized(weight: Tensor, levels: int) -> Tensor:
    """Return a weight as vegrt.calibration.encode.quantize_weights would store it, per output channel (axis 0)."""
    scales = (weight.detach().abs().flatten(1).amax(1) / levels).clamp(min=_TINY)
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -levels, levels)


def _fake_quantize(node: ir.Node) -> Operator:
    scale, zero_point = (np.asarray(_constant(node, index)) for index in (1, 2))
    limits = np.iinfo(zero_point.dtype)
    return partial(
        torch.fake_quantize_per_tensor_affine,
        scale=float(scale),
        zero_point=int(zero_point),
        quant_min=int(limits.min),
        quant_max=int(limits.max),
    )


def _constant(node: ir.Node, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    value = node.inputs[index]
    if value is None or value.const_value is None:
        raise AssertionError(f"{node.name}: the placement checker lets constant scales pass only")
    return value.const_value.numpy()


def _folded(module: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias with the batch normalisation behind them folded in."""
    if norm is None:
        return module.weight, module.bias
    if norm.running_mean is None or norm.running_var is None:
        raise AssertionError("a batch normalisation that the exporter folds has statistics")
    factor = torch.rsqrt(norm.running_var + norm.eps)
    factor = factor if norm.weight is None else factor * norm.weight
    mean = norm.running_mean if module.bias is None else norm.running_mean - module.bias
    shift = -mean * factor
    return module.weight * factor.view(-1, 1, 1, 1), shift if norm.bias is None else shift + norm.bias


def _module(network: nn.Module, node: ir.Node) -> nn.Conv2d | nn.Linear:
    """Return the module whose name the node bears, as vegrt.export.onnx.tidy gives it."""
    modules = dict(network.named_modules())
    module = modules.get(str(node.name))
    if not isinstance(module, nn.Conv2d | nn.Linear):
        raise ModelError(f"{node.name}: a {node.op_type} that is no layer of the network; export the bundle again")
    return module


def _is_stored(node: ir.Node) -> bool:
    """Return whether a node only unpacks a stored 8-bit weight."""
    source = node.inputs[0] if node.op_type == "DequantizeLinear" else None
    return source is not None and source.const_value is not None


def _is_quantized(node: ir.Node) -> bool:
    weight = node.inputs[1]
    producer = weight.producer() if weight is not None else None
    return producer is not None and _is_stored(producer)


@torch.no_grad()
def _norms_behind(network: nn.Module, size: int) -> dict[nn.Module, nn.BatchNorm2d]:
    """Return the batch normalisation that reads a convolution's output, for each that has one: seen in one forward pass."""
    outputs: list[tuple[Tensor, nn.Module]] = []
    found: dict[nn.Module, nn.BatchNorm2d] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append((output, module))

    def match(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.BatchNorm2d):
            found.update({layer: module for output, layer in outputs if output is inputs[0]})

    kinds = {nn.Conv2d: "register_forward_hook", nn.BatchNorm2d: "register_forward_pre_hook"}
    hooks = [
        getattr(module, register)(note if kind is nn.Conv2d else match)
        for module in network.modules()
        for kind, register in kinds.items()
        if isinstance(module, kind)
    ]
    training = network.training
    network.eval()(torch.zeros(1, 3, size, size, device=next(network.parameters()).device))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return found
