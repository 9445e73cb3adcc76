"""Small ONNX models written as bytes: what measures a machine has to run where the `onnx` package is missing.

Field numbers are those of onnx.proto3: ModelProto.ir_version 1, .graph 7, .opset_import 8; OperatorSetIdProto.version 2;
GraphProto.node 1, .name 2, .initializer 5, .input 11, .output 12; NodeProto.input 1, .output 2, .op_type 4, .attribute 5;
AttributeProto.name 1, .i 3, .ints 8, .type 20; TensorProto.dims 1, .data_type 2, .name 8, .raw_data 9; ValueInfoProto.name 1,
.type 2; TypeProto.tensor_type 1, its .elem_type 1 and .shape 2; TensorShapeProto.dim 1, its .dim_value 1 and .dim_param 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vegrt import protobuf

_IR_VERSION, _OPSET = 9, 19
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int64": 7}  # TensorProto.DataType
FLOAT = _TYPES["float32"]
_INTEGER, _INTEGERS = 2, 7  # AttributeProto.AttributeType


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a model. shape: a text is the name of a size that is not fixed."""

    name: str
    kind: Literal["float32", "uint8"]
    shape: tuple[int | str, ...]


@dataclass(slots=True)
class Graph:
    """A graph to which nodes and constants are added in the order of computation."""

    nodes: list[bytes] = field(default_factory=list)
    constants: list[bytes] = field(default_factory=list)

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> str:
        """Add a node and return the name of its output."""
        names = b"".join(protobuf.field(1, name.encode()) for name in inputs)
        facts = b"".join(protobuf.field(5, _attribute(name, value)) for name, value in attributes.items())
        self.nodes.append(names + protobuf.field(2, output.encode()) + protobuf.field(4, kind.encode()) + facts)
        return output

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant and return its name."""
        dims = b"".join(protobuf.number_field(1, size) for size in value.shape)
        data = protobuf.field(9, value.astype(value.dtype.newbyteorder("<")).tobytes())
        kind = protobuf.number_field(2, _TYPES[value.dtype.name])
        self.constants.append(dims + kind + protobuf.field(8, name.encode()) + data)
        return name

    def model(self, given: Tensor, result: Tensor) -> bytes:
        """Return the graph as the bytes of an .onnx file with one input and one output."""
        graph = b"".join(
            (
                *(protobuf.field(1, node) for node in self.nodes),
                protobuf.field(2, result.name.encode()),
                *(protobuf.field(5, constant) for constant in self.constants),
                protobuf.field(11, _value(given)),
                protobuf.field(12, _value(result)),
            )
        )
        opset = protobuf.field(8, protobuf.number_field(2, _OPSET))
        return protobuf.number_field(1, _IR_VERSION) + protobuf.field(7, graph) + opset


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    """Return an attribute of non-negative integers."""
    if isinstance(value, int):
        numbers, kind = protobuf.number_field(3, value), _INTEGER
    else:
        numbers, kind = b"".join(protobuf.number_field(8, number) for number in value), _INTEGERS
    return protobuf.field(1, name.encode()) + numbers + protobuf.number_field(20, kind)


def _value(tensor: Tensor) -> bytes:
    dims = b"".join(
        protobuf.field(1, protobuf.field(2, size.encode()) if isinstance(size, str) else protobuf.number_field(1, size))
        for size in tensor.shape
    )
    described = protobuf.number_field(1, _TYPES[tensor.kind]) + protobuf.field(2, dims)
    return protobuf.field(1, tensor.name.encode()) + protobuf.field(2, protobuf.field(1, described))
