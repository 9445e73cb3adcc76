"""The operators that an imported ONNX file may have: those of the standard, in a quantized model those of ONNX Runtime too."""

from __future__ import annotations

from typing import Literal

import onnx

from vegrt.calibration.graph.onnx_graph import element_type_text
from vegrt.errors import ModelError

QuantizedForm = Literal["QDQ", "QOperator", "dynamic"]

QUANTIZE = ("QuantizeLinear", "DequantizeLinear")
_STANDARD = ("", "ai.onnx")
_CONTRIBUTED = "com.microsoft"  # ONNX Runtime's own operators, which its quantizers write
_DYNAMIC = ("DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")
_OTHER_WIDTHS = frozenset({"INT2", "UINT2", "INT4", "UINT4", "FLOAT4E2M1", "INT16", "UINT16"})
_PACKED = ("MatMulNBits", "GatherBlockQuantized", "MatMulBnb4", "MatMulFpQ4")
_QUANTIZED = frozenset({*QUANTIZE, *_DYNAMIC, *_PACKED, "QGemm", "QAttention"})  # and all that begin with QLinear


def check_float32(proto: onnx.ModelProto, subject: str) -> None:
    """Raise ModelError for a model that is quantized, has weights of 16 bits, or operators outside of the ONNX standard."""
    if names := quantized_operators(proto):
        raise ModelError(
            f"{subject}: already quantized ({', '.join(names)}); expected the float32 model; to judge this file against it: "
            f"--from-onnx FP32 --quantized {subject}"
        )
    _check_domains(proto, subject, _STANDARD)
    if name := _half_weight(proto):
        raise ModelError(f"{subject}: 16-bit weights ({name}); expected the float32 model, vegrt converts it to fp16")


def check_quantized(proto: onnx.ModelProto, subject: str) -> None:
    """Raise ModelError for a model that is not quantized to 8 bits, or has operators that ONNX Runtime does not have."""
    _check_domains(proto, subject, (*_STANDARD, _CONTRIBUTED))
    if not quantized_operators(proto):
        raise ModelError(
            f"{subject}: not quantized; expected a model in 8 bits, the float32 one belongs to --from-onnx"
        )
    packed = [node.op_type for node in proto.graph.node if node.op_type in _PACKED]
    types = {element_type_text(tensor.data_type).upper() for tensor in _integers(proto)}
    if others := [*packed, *sorted(types & _OTHER_WIDTHS)]:
        raise ModelError(f"{subject}: quantized to other widths ({others[0]}); expected integers of 8 bits")


def quantized_operators(proto: onnx.ModelProto) -> list[str]:
    """Return the operators that compute with, or convert to, integers of few bits, sorted; none in a float model."""
    return sorted({node.op_type for node in proto.graph.node if _is_quantized(node)})


def quantized_form(proto: onnx.ModelProto) -> QuantizedForm:
    """Return how a quantized model computes in integers, in the words of ONNX Runtime's quantizers.

    dynamic: the ranges of activations are those of each batch. QOperator: by operators on integers. QDQ: by float operators
    between DequantizeLinear and QuantizeLinear.
    """
    names = quantized_operators(proto)
    if any(name in _DYNAMIC for name in names):
        return "dynamic"
    return "QDQ" if all(name in QUANTIZE for name in names) else "QOperator"


def has_half_weights(proto: onnx.ModelProto) -> bool:
    """Return whether weights or scales are float16 or bfloat16."""
    return bool(_half_weight(proto))


def _check_domains(proto: onnx.ModelProto, subject: str, allowed: tuple[str, ...]) -> None:
    others = {f"{node.domain}.{node.op_type}" for node in proto.graph.node if node.domain not in allowed}
    if others:
        raise ModelError(
            f"{subject}: operators outside of the ONNX standard: {', '.join(sorted(others))}; export it without them"
        )


def _half_weight(proto: onnx.ModelProto) -> str:
    half = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    return next((tensor.name for tensor in proto.graph.initializer if tensor.data_type in half), "")


def _integers(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Return the constant tensors that quantizing operators read: weights and zero points."""
    constants = {node.output[0]: node.attribute[0].t for node in proto.graph.node if node.op_type == "Constant"}
    constants |= {tensor.name: tensor for tensor in proto.graph.initializer}
    read = {name for node in proto.graph.node if _is_quantized(node) for name in node.input}
    return [tensor for name, tensor in constants.items() if name in read]


def _is_quantized(node: onnx.NodeProto) -> bool:
    return node.op_type in _QUANTIZED or node.op_type.startswith("QLinear")
