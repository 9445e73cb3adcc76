"""Which ONNX files an engine is built from: those that keep the bundle's interface and TensorRT's rules, ours or not.

The builder accepts some that it should not: per-channel scales of activations, float16 scales at opset 17 (TensorRT-RTX 1.7).
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from vegrt.calibration.check import check_placement
from vegrt.errors import EngineError, ModelError

INPUT, OUTPUT = "images", "logits"


def check_model(subject: str, data: bytes) -> None:
    """Raise EngineError, naming what is wrong and what is expected, for an ONNX file that no engine should be built from."""
    try:
        proto = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise EngineError(
            f"{subject}: truncated or no ONNX file at all ({len(data)} bytes); export it again"
        ) from error
    if not proto.graph.node:
        raise EngineError(f"{subject}: holds no graph ({len(data)} bytes); expected an ONNX model")
    _check_interface(subject, proto)
    _check_operators(subject, proto)
    try:
        check_placement(ir.from_proto(proto), "signed")
        onnx.checker.check_model(proto, full_check=True)
    except ModelError as error:
        raise EngineError(f"{subject}: {error}") from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EngineError(f"{subject}: refused by the ONNX checker ({str(error).strip().splitlines()[0]})") from error


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
        found = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        raise EngineError(f"{subject}: {INPUT} is {found} {shape}; expected uint8 (N, H, W, 3)")
    if not isinstance(shape[0], str) or not all(isinstance(size, int) for size in shape[1:]):
        raise EngineError(
            f"{subject}: {INPUT} has shape {shape}; the optimization profile covers the batch: expected it alone to be dynamic"
        )


def _check_operators(subject: str, proto: onnx.ModelProto) -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    for node in proto.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in known:
            name = node.name or node.output[0]
            raise EngineError(f"{subject}: {name} is a {node.op_type}; expected an operator of ONNX {onnx.__version__}")
