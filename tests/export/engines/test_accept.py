"""Ten ONNX files, each broken on purpose in one way, each refused before a builder sees it, by a line of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from vegrt.bundle.bundle import Bundle
from vegrt.errors import EngineError, ModelError
from vegrt.export.engines.accept import check_model
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime

Sabotage = Callable[[onnx.ModelProto], onnx.ModelProto | bytes | None]


def constant(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    stored = [tensor for tensor in model.graph.initializer if tensor.name == name]
    tensor = stored[0] if stored else model.graph.initializer.add()
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    for value in [value for value in model.graph.value_info if value.name == name]:
        model.graph.value_info.remove(value)


def first(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    node: onnx.NodeProto = next(node for node in model.graph.node if node.op_type == kind)
    return node


def asymmetric(model: onnx.ModelProto) -> None:
    constant(model, first(model, "QuantizeLinear").input[2], np.array(3, np.int8))


def quantized_bias(model: onnx.ModelProto) -> None:
    conv = first(model, "Conv")
    channels = next(tensor.dims[0] for tensor in model.graph.initializer if tensor.name == conv.input[2])
    constant(model, "bias.q", np.zeros(channels, np.int32))
    constant(model, "bias.scale", np.full(channels, 0.01, np.float16))
    node = helper.make_node("DequantizeLinear", ["bias.q", "bias.scale"], ["bias.dq"], "bias.dequantize", axis=0)
    model.graph.node.insert(0, node)
    conv.input[2] = "bias.dq"


def negative_scale(model: onnx.ModelProto) -> None:
    constant(model, first(model, "QuantizeLinear").input[1], np.array(-0.05, np.float16))


def mixed_types(model: onnx.ModelProto) -> None:
    name = first(model, "Conv").input[2]
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    constant(model, name, numpy_helper.to_array(tensor).astype(np.float32))


def unknown_operator(model: onnx.ModelProto) -> None:
    first(model, "MaxPool").op_type = "SuperPool"


def no_profile(model: onnx.ModelProto) -> None:
    for axis in (1, 2):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "HW"


def truncated(model: onnx.ModelProto) -> bytes:
    data: bytes = model.SerializeToString()
    return data[:-1000]


def scale_per_channel(model: onnx.ModelProto) -> None:
    node = first(model, "QuantizeLinear")
    constant(model, node.input[1], np.full(3, 0.05, np.float16))
    constant(model, node.input[2], np.zeros(3, np.int8))


def half_scales_at_opset_17(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 17


def wrong_input_name(model: onnx.ModelProto) -> None:
    first(model, "Cast").input[0] = "pixels"
    model.graph.input[0].name = "pixels"


BROKEN: dict[str, tuple[Sabotage, str]] = {
    "asymmetric zero point": (asymmetric, "zero point 3; zero points are 0 in the signed encoding"),
    "int32 bias": (quantized_bias, "bias.dequantize: dequantizes a bias; biases stay in float"),
    "negative scale": (negative_scale, "scale -0.05; scales are finite, positive"),
    "mixed types": (mixed_types, "conv1.0: inputs of FLOAT16, FLOAT16, FLOAT; all inputs have one float type"),
    "unknown operator": (unknown_operator, "is a SuperPool; expected an operator of ONNX"),
    "missing profile": (no_profile, "has shape ['N', 'HW', 'HW', 3]; expected only the batch to be dynamic"),
    "truncated file": (truncated, "truncated or not an ONNX file ("),
    "scale per channel": (scale_per_channel, "3 scales; activations have one scale per tensor"),
    "half scales at opset 17": (half_scales_at_opset_17, "float16 scale at opset 17; float16 scales need opset 19"),
    "wrong input name": (wrong_input_name, "inputs pixels; expected one, images"),
}


@pytest.fixture
def int8(bundle: Bundle) -> onnx.ModelProto:
    return onnx.load(bundle.file("model", "int8"))


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_file_is_refused_with_its_own_message(int8: onnx.ModelProto, name: str) -> None:
    sabotage, expected = BROKEN[name]
    data = sabotage(int8)
    with pytest.raises(EngineError) as refused:
        check_model("int8.onnx", data if isinstance(data, bytes) else int8.SerializeToString())
    line = str(refused.value)
    assert line.startswith("int8.onnx: ")
    assert expected in line
    assert "\n" not in line
    others = [text for case, (_, text) in BROKEN.items() if case != name]
    assert not any(text in line for text in others)


def test_exported_models_are_accepted(bundle: Bundle) -> None:
    for variant in ("fp32", "fp16", "int8"):
        check_model(variant, bundle.file("model", variant).read_bytes())


def files_that_no_runner_opens(bundle: Bundle, folder: Path) -> Iterator[tuple[Path, str]]:
    model = onnx.load(bundle.file("model", "fp32"))
    wrong_input_name(model)
    onnx.save(model, folder / "renamed.onnx")
    yield folder / "renamed.onnx", r"renamed\.onnx: takes pixels and gives logits; expected images and logits"
    (folder / "short.onnx").write_bytes(bundle.file("model", "fp32").read_bytes()[:5000])
    yield folder / "short.onnx", r"short\.onnx: ONNX Runtime cannot load it"


def test_a_runner_refuses_an_unfit_model_by_name(bundle: Bundle, tmp_path: Path) -> None:
    for path, message in files_that_no_runner_opens(bundle, tmp_path):
        with pytest.raises(ModelError, match=message):
            open_onnxruntime(path)
