"""A matrix product as an ONNX model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.benchmark.onnx_bytes import FLOAT, Graph, Tensor
from vegrt.results.benchmark import Arithmetic

INPUT, OUTPUT = "images", "product"
_WEIGHT_LEVELS = 64  # as in int8-cpu: sums of two products stay exact without VNNI (decision 0003)


@dataclass(frozen=True, slots=True)
class Product:
    """The shape of a product: (rows, inner) x (inner, columns).

    The default is that of a 3x3 convolution of 256 channels (inner = 9 * 256). In float32, square products of 1024 reached a
    tenth less, in ONNX Runtime 1.32 and in OpenVINO 2026.4 on AMD Zen 4; in 8 bits both are equal.
    """

    rows: int = 512
    inner: int = 2304
    columns: int = 512

    @property
    def macs(self) -> int:
        """Return the number of multiplications, each with one addition."""
        return self.rows * self.inner * self.columns

    def operand(self) -> NDArray[np.uint8]:
        """Return the (rows, inner) uint8 input."""
        return np.random.default_rng(1).integers(0, 256, (self.rows, self.inner), np.uint8)

    def model(self, arithmetic: Arithmetic) -> bytes:
        """Return an ONNX model of one MatMul by constant weights, from INPUT (rows, inner) uint8 to OUTPUT (rows, columns).

        float32: Cast, MatMul; the output is float32. int8: Q/DQ as in int8-cpu, uint8 by int8 in [-64, 64]; the output is uint8.
        """
        random = np.random.default_rng(0)
        weights = random.integers(-_WEIGHT_LEVELS, _WEIGHT_LEVELS + 1, (self.inner, self.columns), np.int8)
        graph = _float_graph(weights) if arithmetic == "float32" else _int8_graph(weights)
        result = Tensor(OUTPUT, "float32" if arithmetic == "float32" else "uint8", (self.rows, self.columns))
        return graph.model(Tensor(INPUT, "uint8", (self.rows, self.inner)), result)


def _float_graph(weights: NDArray[np.int8]) -> Graph:
    graph = Graph()
    graph.add("Cast", [INPUT], "x", to=FLOAT)
    graph.constant("weights", weights.astype(np.float32) / _WEIGHT_LEVELS)
    graph.add("MatMul", ["x", "weights"], OUTPUT)
    return graph


def _int8_graph(weights: NDArray[np.int8]) -> Graph:
    """Return a graph whose result's scale keeps nearly all sums inside 8 bits."""
    deviation = 255 / 3**0.5 * _WEIGHT_LEVELS / 3**0.5 * len(weights) ** 0.5  # of a sum of products
    graph = Graph()
    graph.constant("weights", weights)
    graph.constant("one", np.array(1, np.float32))
    graph.constant("zero", np.array(0, np.uint8))
    graph.constant("ones", np.ones(weights.shape[1], np.float32))  # per output channel
    graph.constant("zeros", np.zeros(weights.shape[1], np.int8))
    graph.constant("scale", np.array(deviation / 32, np.float32))
    graph.constant("middle", np.array(128, np.uint8))
    graph.add("DequantizeLinear", [INPUT, "one", "zero"], "x")
    graph.add("DequantizeLinear", ["weights", "ones", "zeros"], "w", axis=1)
    graph.add("MatMul", ["x", "w"], "y")
    graph.add("QuantizeLinear", ["y", "scale", "middle"], OUTPUT)
    return graph
