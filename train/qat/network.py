"""Runs an exported graph in torch with the weights of a network: with Q/DQ pairs, it rounds as the 8-bit model does.

The graph is the quantized one that an export writes, so the placement of the Q/DQ pairs and their scales are the same.
Gradients pass rounding unchanged (straight-through) and are zero for clipped values (Jacob et al., 2018, arXiv:1712.05877).
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

_TINY = float(np.finfo(np.float16).tiny)  # smallest scale of a weight, as in vegrt.calibration.graph.encode


@dataclass(frozen=True, slots=True)
class _Step:
    """One node. inputs: names of tensors; None for an omitted one."""

    output: str
    inputs: tuple[str | None, ...]
    run: Operator


class GraphNetwork(nn.Module):
    """Runs a graph from uint8 (N, H, W, 3) to logits (N, K), with the trainable weights of `network`.

    The statistics of batch normalisations stay fixed and are folded into the weights, as in the graph. levels: largest
    magnitude of a quantized weight.
    """

    def __init__(self, network: nn.Module, model: ir.Model, shape: tuple[int, int, int], levels: int) -> None:
        super().__init__()
        self.network, self.levels = network, levels
        self._norms = _batch_norms_by_layer(network, shape)
        self._constants: dict[str, str] = {}  # tensor name -> buffer
        self._images, self._logits = str(model.graph.inputs[0].name), str(model.graph.outputs[0].name)
        self._steps = [self._step(node) for node in model.graph if not _is_stored(node)]

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, K) float32 logits. Does not use bfloat16, whose precision is as low as that of 8 bits."""
        values: dict[str | None, Tensor | None] = {
            name: self.get_buffer(buffer) for name, buffer in self._constants.items()
        }
        values |= {None: None, self._images: images}
        with torch.autocast(images.device.type, enabled=False):
            for step in self._steps:
                values[step.output] = step.run(*(values[name] for name in step.inputs))
        logits = values[self._logits]
        if logits is None:
            raise AssertionError("the graph has no logits")
        return logits

    def _step(self, node: ir.Node) -> _Step:
        output = str(node.outputs[0].name)
        if node.op_type in {"Conv", "Gemm"}:
            return _Step(output, (self._tensor_name(node.inputs[0]),), self._layer(node))
        if node.op_type == "QuantizeLinear":
            return _Step(output, (self._tensor_name(node.inputs[0]),), _fake_quantize(node))
        if node.op_type == "DequantizeLinear":
            return _Step(output, (self._tensor_name(node.inputs[0]),), operator(node))
        return _Step(output, tuple(self._tensor_name(value) for value in node.inputs), operator(node))

    def _tensor_name(self, value: ir.Value | None) -> str | None:
        """Return the name of a tensor. Registers a constant as a buffer, which moves to the device with the module."""
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
    """Return a weight rounded as by vegrt.calibration.graph.encode.quantize_weights, per output channel (axis 0)."""
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
        raise AssertionError(f"{node.name}: has a scale that is not constant")
    return value.const_value.numpy()


def _folded(module: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias with the batch normalisation after them folded in."""
    if norm is None:
        return module.weight, module.bias
    if norm.running_mean is None or norm.running_var is None:
        raise AssertionError("batch normalisation without statistics")
    factor = torch.rsqrt(norm.running_var + norm.eps)
    factor = factor if norm.weight is None else factor * norm.weight
    mean = norm.running_mean if module.bias is None else norm.running_mean - module.bias
    shift = -mean * factor
    return module.weight * factor.view(-1, 1, 1, 1), shift if norm.bias is None else shift + norm.bias


def _module(network: nn.Module, node: ir.Node) -> nn.Conv2d | nn.Linear:
    """Return the module of a node: vegrt.export.onnx.tidy gives nodes the names of their modules."""
    modules = dict(network.named_modules())
    module = modules.get(str(node.name))
    if not isinstance(module, nn.Conv2d | nn.Linear):
        raise ModelError(
            f"{node.name}: no layer of the network has the name of this {node.op_type}; export the bundle again, or train "
            "without --qat a network whose branches the export merges"
        )
    return module


def _is_stored(node: ir.Node) -> bool:
    """Return whether a node only unpacks a stored 8-bit weight."""
    source = node.inputs[0] if node.op_type == "DequantizeLinear" else None
    return source is not None and source.const_value is not None


def _is_quantized(node: ir.Node) -> bool:
    """Return whether a Conv or Gemm has an 8-bit weight."""
    weight = node.inputs[1]
    producer = weight.producer() if weight is not None else None
    return producer is not None and _is_stored(producer)


@torch.no_grad()
def _batch_norms_by_layer(network: nn.Module, shape: tuple[int, int, int]) -> dict[nn.Module, nn.BatchNorm2d]:
    """Return the batch normalisation after each convolution that has one. Runs the network once to trace them."""
    outputs: list[tuple[Tensor, nn.Module]] = []
    norms: dict[nn.Module, nn.BatchNorm2d] = {}

    def record_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append((output, module))

    def match_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.BatchNorm2d):
            norms.update({layer: module for output, layer in outputs if output is inputs[0]})

    kinds = {nn.Conv2d: "register_forward_hook", nn.BatchNorm2d: "register_forward_pre_hook"}
    hooks = [
        getattr(module, register)(record_output if kind is nn.Conv2d else match_input)
        for module in network.modules()
        for kind, register in kinds.items()
        if isinstance(module, kind)
    ]
    training = network.training
    height, width, channels = shape
    network.eval()(torch.zeros(1, channels, height, width, device=next(network.parameters()).device))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return norms
