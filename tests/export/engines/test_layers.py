"""Layer lists of TensorRT 10 and TensorRT-RTX, read as they were written: layer_lists/README.md has their sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vegrt.export.engines.layers import BuilderLog, Layer, data_type, is_unknown, parse_inspector, parse_line

LISTS = Path(__file__).parent / "layer_lists"


def logged(name: str) -> dict[str, Layer]:
    """Return the layers of a recorded builder's log by the last ONNX node in them."""
    log = BuilderLog()
    log.add((LISTS / name).read_text(encoding="utf-8"))
    return {layer.onnx[-1]: layer for layer in log.layers}


def inspected(name: str) -> dict[str, Layer]:
    return {layer.name: layer for layer in parse_inspector((LISTS / name).read_text(encoding="utf-8"))}


def test_tensorrt_10_describes_the_memory_of_its_int8_tensors() -> None:
    convolution = parse_line((LISTS / "tensorrt-10-int8.txt").read_text(encoding="utf-8"))
    assert convolution is not None
    assert (convolution.type, convolution.inputs, convolution.outputs) == ("CaskConvolution", ("Int8",), ("Int8",))
    assert convolution.onnx[-1] == "resnetv17_stage1_conv0_fwd"  # the list has no metadata, the name tells the nodes
    assert convolution.computes_in == "Int8"


def test_the_inspector_of_tensorrt_10_1() -> None:
    layers = inspected("tensorrt-10.1-int8.json")
    reformat, convolution, shortened = layers.values()
    assert (reformat.type, reformat.inputs, reformat.outputs) == ("Reformat", ("Float",), ("Int8",))
    assert convolution.onnx[0] == "resnetv15_stage1_conv2_fwd"
    assert (convolution.inputs, convolution.weights, convolution.computes_in) == (("Int8",), "Int8", "Int8")
    assert shortened.onnx == ("resnetv15_stage2_conv1_fwd", "resnetv15_stage2_batchnorm1_fwd")
    assert is_unknown(shortened.computes_in)


def test_the_log_of_tensorrt_10_4() -> None:
    layers = logged("tensorrt-10.4-fp16.txt")
    convolution, gemm = layers["/features/features.1/Relu"], layers["/classifier/classifier.6/Gemm"]
    assert (convolution.inputs, convolution.weights, convolution.computes_in) == (("Half",), "Half", "Half")
    assert (gemm.inputs, gemm.outputs) == (("Half", "Half", "Float", "Float", "Half"), ("Half",))
    assert gemm.onnx == ("/classifier/classifier.6/Gemm",)


def test_the_log_of_tensorrt_10_10() -> None:
    layers = logged("tensorrt-10.10-fp16.txt")
    assert [layer.type for layer in layers.values()] == ["gemm", "kgen", "fusion"]
    assert {layer.computes_in for layer in layers.values()} == {"Half"}
    assert "/encoder/layers.9/pos_ff/dense/MatMul" in layers["/encoder/layers.9/pos_ff/dense/Add"].onnx


def test_the_log_of_tensorrt_rtx() -> None:
    int8, fp16 = logged("tensorrt_rtx-1.7-int8.txt"), logged("tensorrt_rtx-1.7-fp16.txt")
    assert int8["conv1.weight.dequantize"].type == "correlation"
    assert int8["conv1.weight.dequantize"].computes_in == "Int8"
    assert int8["conv1.weight.dequantize"].outputs == ("Float",)
    assert int8["to_fp32"].computes_in == fp16["to_fp32"].computes_in == "Half"
    assert [layer.type for layer in int8.values()].count("maxpool") == 1


def test_where_a_dynamic_batch_hides_the_types_the_weights_decide() -> None:
    shuffle, convolution = inspected("dynamic-int8.json").values()
    assert convolution.inputs == ("unknown (N/A due to dynamic shapes)",)
    assert convolution.computes_in == "Int8"
    assert shuffle.computes_in == "unknown (N/A due to dynamic shapes)"


def test_tensorrt_11_states_type_and_format_apart() -> None:
    tensor = {"Name": "x", "Datatype": "Int8", "Format": "(NHWC) Channel major format"}
    text = json.dumps({"Layers": [{"Name": "a", "LayerType": "conv", "Inputs": [tensor], "Outputs": [tensor]}]})
    (layer,) = parse_inspector(text)
    assert layer == Layer("a", "conv", ("Int8",), ("Int8",), ("a",))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Int8", "Int8"),
        ("Channel major INT8 format where column stride % 32 == 0", "Int8"),
        ("Row major linear UInt8 format", "UInt8"),
        ("Half", "Half"),
        ("Channel major FP16 format where channel % 8 == 0.", "Half"),
        ("Row major linear FP32", "Float"),
        ("Two wide channel vectorized row major BFloat16 format", "BFloat16"),
        ("Row major linear BOOL", "Bool"),
        ("Row major linear FP8 format", "FP8"),
        ("Unknown format", "unknown (Unknown format)"),
        ("Sixteen wide E5M2 format", "unknown (Sixteen wide E5M2 format)"),
        ("Int8 or FP16", "unknown (Int8 or FP16)"),
        ("", "unknown ()"),
    ],
)
def test_words_are_types_or_unknown(words: str, expected: str) -> None:
    assert data_type(words) == expected
    assert is_unknown(expected) == expected.startswith("unknown")


def test_weights_of_another_type_than_the_input_leave_the_type_unknown() -> None:
    layer = Layer("a", "CaskConvolution", ("Int8",), ("Int8",), ("a",), weights="Float")
    assert layer.computes_in == "unknown (reads Int8, weights are Float)"
    assert Layer("a", "NoOp", (), (), ("a",)).computes_in == "unknown (no inputs listed)"


def test_the_last_list_counts_and_nothing_else_is_kept() -> None:
    lines = (LISTS / "tensorrt-10.4-fp16.txt").read_text(encoding="utf-8").splitlines()
    log = BuilderLog()
    for message in (*lines, "Layers:\nName: half a line", *lines, "[MemUsageStats] Peak memory usage", "I/O Tensors:"):
        log.add(message)
    assert [layer.type for layer in log.layers] == ["Reformat", "CaskConvolution", "gemm"]


@pytest.mark.parametrize("text", ["", "null", "[]", '{"Layers": ["a name only"]}', '{"Layers": [', '{"Bindings": []}'])
def test_an_inspector_that_lists_no_types_gives_no_layers(text: str) -> None:
    assert parse_inspector(text) == ()
