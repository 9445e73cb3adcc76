"""A small network of each kind of image classifier, with seeded weights, in float32 and in 8 bits: to time runtimes on a machine.

The layers are those of the networks that they stand for, at a quarter of the pixels and fewer blocks. 8 bits is the encoding of
int8-cpu: Q/DQ before every convolution and addition, uint8 activations, 7-bit weights per output channel (decision 0003).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.benchmark.onnx_bytes import FLOAT, Graph, Tensor
from vegrt.infer.machine.measured import NetworkKind, TimedVariant

CLASSES = 10
_WEIGHT_LEVELS = 64
_LARGEST = 6.0  # of activations: that of ReLU6, and rarely exceeded by normalised ones


@dataclass(frozen=True, slots=True)
class SmallNetwork:
    """An ONNX model from `images` (N, size, size, 3) uint8 to `logits` (N, CLASSES). macs: multiplications for one image."""

    model: bytes
    size: int
    macs: int


@dataclass(frozen=True, slots=True)
class _Map:
    """A tensor of the graph, (N, channels, size, size). name: in 8 bits, of what is to be quantized before its use."""

    name: str
    channels: int
    size: int


@dataclass(slots=True)
class _Layers:
    """Adds layers to a graph. in_8_bits: with Q/DQ pairs. macs: of the layers so far, for one image."""

    in_8_bits: bool
    graph: Graph = field(default_factory=Graph)
    macs: int = 0
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    _quantized: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    def images(self, size: int) -> _Map:
        """Return the normalised input, made as in an exported model: Cast, Transpose, Mul, Add."""
        graph = self.graph
        graph.add("Cast", ["images"], "pixels", to=FLOAT)
        graph.add("Transpose", ["pixels"], "planes", perm=(0, 3, 1, 2))
        graph.add("Mul", ["planes", graph.constant("scale", np.full((1, 3, 1, 1), 4 / 255, np.float32))], "scaled")
        graph.add("Add", ["scaled", graph.constant("shift", np.full((1, 3, 1, 1), -2, np.float32))], "normalised")
        return _Map("normalised", 3, size)

    def conv(
        self, given: _Map, channels: int, *, kernel: int = 3, stride: int = 1, groups: int = 1, activation: str = "Relu"
    ) -> _Map:
        """Return the convolution of `given` with padding, a bias and an activation: Relu, Clip (to 0..6) or none."""
        name, inner = self._name("conv"), given.channels // groups
        deviation = (2 / (inner * kernel**2)) ** 0.5  # He et al. 2015: keeps the variance through ReLU
        weights = self._random.normal(0, deviation, (channels, inner, kernel, kernel)).astype(np.float32)
        bias = self.graph.constant(f"{name}.bias", np.zeros(channels, np.float32))
        pad, strides = kernel // 2, (stride, stride)
        result = self.graph.add(
            "Conv",
            [self._read(given.name), self._weights(name, weights), bias],
            name,
            group=groups,
            pads=(pad,) * 4,
            strides=strides,
        )
        size = -(-given.size // stride)
        self.macs += weights.size * size**2
        return _Map(self._activated(result, activation), channels, size)

    def pool(self, given: _Map, *, kernel: int = 2) -> _Map:
        """Return the maxima of `given`, of half its size."""
        pad = kernel // 2 if kernel % 2 else 0
        result = self.graph.add(
            "MaxPool",
            [self._read(given.name)],
            self._name("pool"),
            kernel_shape=(kernel, kernel),
            pads=(pad,) * 4,
            strides=(2, 2),
        )
        return _Map(result, given.channels, given.size // 2)

    def add(self, first: _Map, second: _Map, *, activation: str = "Relu") -> _Map:
        """Return the sum of a block's last convolution and its input."""
        result = self.graph.add("Add", [self._read(first.name), self._read(second.name)], self._name("sum"))
        return _Map(self._activated(result, activation), first.channels, first.size)

    def finish(self, given: _Map, size: int) -> SmallNetwork:
        """Return the network with a classifier in float behind `given`. size: of the input."""
        graph, weights = self.graph, self._random.normal(0, 0.01, (given.channels, CLASSES)).astype(np.float32)
        graph.add("GlobalAveragePool", [given.name], "pooled")
        graph.add("Flatten", ["pooled"], "features", axis=1)
        graph.constant("head.bias", np.zeros(CLASSES, np.float32))
        graph.add("Gemm", ["features", graph.constant("head", weights), "head.bias"], "logits")
        model = graph.model(
            Tensor("images", "uint8", ("N", size, size, 3)), Tensor("logits", "float32", ("N", CLASSES))
        )
        return SmallNetwork(model, size, self.macs + weights.size)

    def _activated(self, name: str, activation: str) -> str:
        if activation == "Clip":
            ends = [self.graph.constant(f"{name}.{end}", np.array(end, np.float32)) for end in (0, 6)]
            return self.graph.add("Clip", [name, *ends], f"{name}.active")
        return self.graph.add(activation, [name], f"{name}.active") if activation else name

    def _weights(self, name: str, weights: NDArray[np.float32]) -> str:
        """Return the name of a convolution's weights; in 8 bits, of 7-bit weights with a scale for each output channel."""
        if not self.in_8_bits:
            return self.graph.constant(f"{name}.weights", weights)
        scales = np.abs(weights).reshape(len(weights), -1).max(axis=1) / _WEIGHT_LEVELS
        levels = np.round(weights / scales[:, None, None, None]).astype(np.int8)
        parts = {".weights": levels, ".scales": scales, ".zeros": np.zeros(len(scales), np.int8)}
        names = [self.graph.constant(f"{name}{suffix}", value) for suffix, value in parts.items()]
        return self.graph.add("DequantizeLinear", names, f"{name}.w", axis=0)

    def _read(self, name: str) -> str:
        """Return the name by which a layer reads a tensor; in 8 bits, that behind its one Q/DQ pair."""
        if not self.in_8_bits:
            return name
        if name not in self._quantized:
            positive = name.endswith(".active") or name.startswith("pool")
            span = _LARGEST if positive else 2 * _LARGEST
            scale = self.graph.constant(f"{name}.scale", np.array(span / 255, np.float32))
            zero = self.graph.constant(f"{name}.zero", np.array(0 if positive else 128, np.uint8))
            self.graph.add("QuantizeLinear", [name, scale, zero], f"{name}.q")
            self._quantized[name] = self.graph.add("DequantizeLinear", [f"{name}.q", scale, zero], f"{name}.dq")
        return self._quantized[name]

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"


def small_network(kind: NetworkKind, variant: TimedVariant) -> SmallNetwork:
    """Return the small network of a kind; equal calls give equal bytes."""
    layers = _Layers(in_8_bits=variant == "int8-cpu")
    return _BUILDERS[kind](layers)


def _convolutions(layers: _Layers) -> SmallNetwork:
    """3x3 convolutions as in VGG and in the blocks of ResNet18."""
    size = 64
    here = layers.images(size)
    for channels in (64, 128, 256, 512):
        here = layers.conv(layers.conv(here, channels), channels)
        here = layers.pool(here)
    return layers.finish(here, size)


def _bottlenecks(layers: _Layers) -> SmallNetwork:
    """Blocks of 1x1, 3x3 and 1x1 convolutions as in ResNet50."""
    size = 128
    here = layers.pool(layers.conv(layers.images(size), 64, kernel=7, stride=2), kernel=3)
    for channels, stride in ((64, 1), (128, 2), (256, 2)):
        for step in (stride, 1):
            inner = layers.conv(layers.conv(here, channels, kernel=1), channels, stride=step)
            wide = layers.conv(inner, 4 * channels, kernel=1, activation="")
            is_equal = (here.channels, here.size) == (wide.channels, wide.size)
            side = here if is_equal else layers.conv(here, 4 * channels, kernel=1, stride=step, activation="")
            here = layers.add(wide, side)
    return layers.finish(here, size)


def _depthwise(layers: _Layers) -> SmallNetwork:
    """Inverted residuals with depthwise convolutions as in MobileNetV2 and EfficientNet."""
    size = 128
    here = layers.conv(layers.images(size), 32, stride=2, activation="Clip")
    for channels, stride in ((24, 2), (24, 1), (32, 2), (32, 1), (64, 1), (64, 1), (96, 2), (96, 1)):
        wide = layers.conv(here, 6 * here.channels, kernel=1, activation="Clip")
        inner = layers.conv(wide, wide.channels, stride=stride, groups=wide.channels, activation="Clip")
        narrow = layers.conv(inner, channels, kernel=1, activation="")
        is_equal = (here.channels, here.size) == (narrow.channels, narrow.size)
        here = layers.add(narrow, here, activation="") if is_equal else narrow
    return layers.finish(layers.conv(here, 640, kernel=1, activation="Clip"), size)


_BUILDERS: dict[NetworkKind, Callable[[_Layers], SmallNetwork]] = {
    "convolutions": _convolutions,
    "bottlenecks": _bottlenecks,
    "depthwise": _depthwise,
}
