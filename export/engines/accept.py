"""The check of an ONNX file before an engine is built from it: it must have the bundle's interface and keep TensorRT's rules.

The builder itself accepts files that it should not: per-channel scales of activations, float16 scales at opset 17
(TensorRT-RTX 1.7).
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from vegrt.calibration.graph.check import check_placement
from vegrt.calibration.graph.onnx_graph import element_type_text
from vegrt.errors import EngineError, ModelError, reason_of

INPUT, OUTPUT = "images", "logits"


def check_model(subject: str, data: bytes) -> None:
    """Raise EngineError, with the fault and what was expected, for an ONNX file from which no engine should be built."""
    try:
        proto = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise EngineError(f"{subject}: truncated or not an ONNX file ({len(data)} bytes); export it again") from error
    if not proto.graph.node:
        raise EngineError(f"{subject}: contains no graph ({len(data)} bytes); expected an ONNX model")
    _check_interface(subject, proto)
    _check_operators(subject, proto)
    try:
        check_placement(ir.from_proto(proto), "signed")
        onnx.checker.check_model(proto, full_check=True)
    except ModelError as error:
        raise EngineError(f"{subject}: {error}") from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EngineError(f"{subject}: refused by the ONNX checker ({reason_of(error)})") from error


def _check_interface(subject: str, proto: onnx.ModelProto) -> None:
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    if (names := [value.name for value in inputs]) != [INPUT]:
        raise EngineError(f"{subject}: inputs {', '.join(names) or 'none'}; expected one, {INPUT}")
    if OUTPUT not in (outputs := [value.name for value in proto.graph.output]):
        raise EngineError(f"{subject}: outputs {', '.join(outputs)}; expected {OUTPUT}")
    kind = inputs[0].type.tensor_type
    shape = [dim.dim_value or dim.dim_param or "?" for dim in kind.shape.dim]
    if kind.elem_type != onnx.TensorProto.UINT8 or len(shape) != 4:
        element_type = element_type_text(kind.elem_type)
        raise EngineError(f"{subject}: {INPUT} is {element_type} {shape}; expected uint8 (N, H, W, 3)")
    if not isinstance(shape[0], str) or not all(isinstance(size, int) for size in shape[1:]):
        raise EngineError(
            f"{subject}: {INPUT} has shape {shape}; expected only the batch to be dynamic, as in the optimization profile"
        )


def _check_operators(subject: str, proto: onnx.ModelProto) -> None:
    standard = {schema.name for schema in onnx.defs.get_all_schemas()}
    for node in proto.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in standard:
            name = node.name or node.output[0]
            raise EngineError(f"{subject}: {name} is a {node.op_type}; expected an operator of ONNX {onnx.__version__}")
