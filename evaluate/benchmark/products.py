"""A matrix product as an ONNX model, written as bytes: a benchmark has to run where the `onnx` package is missing.

Field numbers are those of onnx.proto3: ModelProto.ir_version 1, .graph 7, .opset_import 8; OperatorSetIdProto.version 2;
GraphProto.node 1, .name 2, .initializer 5, .input 11, .output 12; NodeProto.input 1, .output 2, .op_type 4, .attribute 5;
AttributeProto.name 1, .i 3, .type 20; TensorProto.dims 1, .data_type 2, .name 8, .raw_data 9; ValueInfoProto.name 1, .type 2;
TypeProto.tensor_type 1, its .elem_type 1 and .shape 2; TensorShapeProto.dim 1, its .dim_value 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.protobuf import field, number_field
from vegrt.results.benchmark import Arithmetic

INPUT, OUTPUT = "images", "product"
_IR_VERSION, _OPSET = 9, 19
_TYPES = {"float32": 1, "uint8": 2, "int8": 3}  # TensorProto.DataType
_INTEGER = 2  # AttributeProto.AttributeType
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
        weights = np.random.default_rng(0).integers(
            -_WEIGHT_LEVELS, _WEIGHT_LEVELS + 1, (self.inner, self.columns), np.int8
        )
        nodes, constants = _float_graph(weights) if arithmetic == "float32" else _int8_graph(weights)
        result = "float32" if arithmetic == "float32" else "uint8"
        graph = b"".join(
            (
                *(field(1, node) for node in nodes),
                field(2, OUTPUT.encode()),
                *(field(5, constant) for constant in constants),
                field(11, _value(INPUT, "uint8", (self.rows, self.inner))),
                field(12, _value(OUTPUT, result, (self.rows, self.columns))),
            )
        )
        return number_field(1, _IR_VERSION) + field(7, graph) + field(8, number_field(2, _OPSET))


def _float_graph(weights: NDArray[np.int8]) -> tuple[list[bytes], list[bytes]]:
    """Return nodes and initializers."""
    to_float = field(1, b"to") + number_field(3, _TYPES["float32"]) + number_field(20, _INTEGER)
    nodes = [
        _node("Cast", [INPUT], "x") + field(5, to_float),
        _node("MatMul", ["x", "weights"], OUTPUT),
    ]
    return nodes, [_tensor("weights", weights.astype(np.float32) / _WEIGHT_LEVELS)]


def _int8_graph(weights: NDArray[np.int8]) -> tuple[list[bytes], list[bytes]]:
    """Return nodes and initializers: the result's scale keeps nearly all sums inside 8 bits."""
    deviation = 255 / 3**0.5 * _WEIGHT_LEVELS / 3**0.5 * len(weights) ** 0.5  # of a sum of products
    nodes = [
        _node("DequantizeLinear", [INPUT, "one", "zero"], "x"),
        _node("DequantizeLinear", ["weights", "one", "weights.zero"], "w"),
        _node("MatMul", ["x", "w"], "y"),
        _node("QuantizeLinear", ["y", "scale", "middle"], OUTPUT),
    ]
    constants = [
        _tensor("weights", weights),
        _tensor("one", np.array(1, np.float32)),
        _tensor("zero", np.array(0, np.uint8)),
        _tensor("weights.zero", np.array(0, np.int8)),
        _tensor("scale", np.array(deviation / 32, np.float32)),
        _tensor("middle", np.array(128, np.uint8)),
    ]
    return nodes, constants


def _node(kind: str, inputs: Sequence[str], output: str) -> bytes:
    names = b"".join(field(1, name.encode()) for name in inputs)
    return names + field(2, output.encode()) + field(4, kind.encode())


def _tensor(name: str, array: NDArray[np.generic]) -> bytes:
    dims = b"".join(number_field(1, size) for size in array.shape)
    data = field(9, array.astype(array.dtype.newbyteorder("<")).tobytes())
    return dims + number_field(2, _TYPES[array.dtype.name]) + field(8, name.encode()) + data


def _value(name: str, kind: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(field(1, number_field(1, size)) for size in shape)
    tensor = number_field(1, _TYPES[kind]) + field(2, dims)
    return field(1, name.encode()) + field(2, field(1, tensor))
