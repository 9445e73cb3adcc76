"""The little of an ONNX file that inference must read or add itself, from its bytes, so that an edge box needs no `onnx` package.

Field numbers are those of onnx.proto3 (ModelProto.graph 7, GraphProto.node 1 and .output 12, NodeProto.input 1, .output 2,
.op_type 4, ValueInfoProto.name 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from vegrt.errors import ModelError
from vegrt.protobuf import fields, messages

_LOGITS = "logits"
_HEADS = frozenset({"Gemm", "MatMul"})
_THROUGH = frozenset({"Add", "Cast", "Identity", "Reshape", "Squeeze", "Flatten", "QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, slots=True)
class Node:
    """An operator of the graph."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def penultimate(model: bytes) -> str:
    """Return the name of the tensor that the classifier reads: the first input of the Gemm or MatMul that makes the logits.

    Raises ModelError when the bytes are no ONNX model, or when its head is built in another way.
    """
    makers = {name: node for node in read_nodes(model) for name in node.outputs}
    name = _LOGITS
    chain: list[str] = []
    while (node := makers.get(name)) is not None and len(chain) <= len(makers):
        if node.kind in _HEADS and node.inputs:
            return node.inputs[0]
        chain.append(node.kind)
        made = [each for each in node.inputs if each in makers]  # an Add's other input is the bias, a constant
        if node.kind not in _THROUGH or not made:
            break
        name = made[0]
    raise ModelError(
        f"model: no Gemm or MatMul makes its logits (found: {', '.join(chain) or 'nothing'}); no embeddings"
    )


def with_output(model: bytes, name: str) -> bytes:
    """Return the model with one more output: protobuf merges what is appended into what was there."""
    return model + _field(7, _field(12, _field(1, name.encode())))


def read_nodes(model: bytes) -> list[Node]:
    """Return the operators of a model's graph, in its order. Raises ModelError for what is no protobuf."""
    view = memoryview(model)
    try:
        return [_node(node) for graph in messages(view, 7) for node in messages(graph, 1)]
    except ValueError as error:
        raise ModelError(f"model: not an ONNX file ({error})") from error


def _node(content: memoryview) -> Node:
    found: dict[int, list[str]] = {1: [], 2: [], 4: []}
    for number, value in fields(content):
        if number in found and isinstance(value, memoryview):
            found[number].append(str(value, "utf-8"))
    return Node("".join(found[4]), tuple(found[1]), tuple(found[2]))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
