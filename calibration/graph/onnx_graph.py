"""ONNX graphs in memory: copies, bytes, and inner tensors as additional outputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.errors import ModelError, reason_of


@dataclass(frozen=True, slots=True)
class Fp32Graph:
    """A float32 graph that passed the parity gate. source: its bytes. details: its entry in the manifest."""

    model: ir.Model
    source: bytes
    details: dict[str, Any]


def load_fp32(bundle: Bundle) -> Fp32Graph:
    """Return the bundle's float32 graph. Raises BundleError when it has not been exported."""
    source = bundle.file("model", "fp32").read_bytes()
    details = bundle.artifact("model", "fp32").details
    return Fp32Graph(ir.from_proto(onnx.load_model_from_string(source)), source, details)


def copy_graph(model: ir.Model) -> ir.Model:
    """Return an independent copy of a graph."""
    return ir.from_proto(ir.to_proto(model))


def serialize(model: ir.Model, *, check: bool = True) -> bytes:
    """Return the graph as the bytes of an .onnx file.

    check: run ONNX's own checker with shape inference first; it raises ModelError for a graph that it refuses.
    """
    proto = ir.to_proto(model)
    if check:
        try:
            onnx.checker.check_model(proto, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ModelError(f"ONNX graph: refused by the ONNX checker ({reason_of(error)})") from error
    data: bytes = proto.SerializeToString()
    return data


def add_initializer(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """Return an array as a new initializer of the graph."""
    tensor = ir.Tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def expose_tensors(model: ir.Model, names: Iterable[str]) -> bytes:
    """Return the bytes of a graph with the tensors `names` as additional outputs. Changes `model`."""
    names = list(names)
    values = {value.name: value for node in model.graph for value in node.outputs}
    if missing := sorted(set(names) - set(map(str, values))):
        raise ModelError(f"ONNX graph: tensors to observe are missing: {', '.join(missing)}; export it again")
    model.graph.outputs.extend(values[name] for name in names)
    return serialize(model, check=False)


def element_type_text(number: int) -> str:
    """Return the name of an ONNX element type, such as float, or its number where ONNX has none: a file may state any."""
    known = number in onnx.TensorProto.DataType.values()
    return onnx.TensorProto.DataType.Name(number).lower() if known else f"of the unknown type {number}"
