from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.graph.onnx_graph import copy_graph, serialize
from vegrt.calibration.graph.placement import plan_quantization
from vegrt.dataset.photos import Split
from vegrt.errors import ModelError
from vegrt.export.onnx.fp16 import round_to_bf16, to_bf16, to_fp16
from vegrt.export.onnx.model import EXPORTERS, check_opset, export_passing
from vegrt.export.onnx.overflow import check_overflow
from vegrt.infer.runtimes.candidates import is_float16
from vegrt.infer.runtimes.logits import Parity, compare_logits
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.openvino.runner import open_openvino
from vegrt.infer.runtimes.torch import TorchRunner
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image


def test_the_graph_contains_the_contract_and_plain_operators(bundle: Bundle) -> None:
    model = onnx.load(bundle.file("model", "fp32"))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds[:4] == ["Cast", "Transpose", "Mul", "Add"]  # Cast first: TensorRT takes uint8 nowhere else
    assert kinds.count("Conv") == 15
    assert kinds[-3:] == ["GlobalAveragePool", "Flatten", "Gemm"]
    assert not {"BatchNormalization", "Shape", "Gather", "Reshape"} & set(kinds)
    (images,), (logits,) = model.graph.input, model.graph.output
    assert (images.name, images.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    assert [dim.dim_value or dim.dim_param for dim in images.type.tensor_type.shape.dim] == ["N", 48, 48, 3]
    assert (logits.name, logits.type.tensor_type.elem_type) == ("logits", onnx.TensorProto.FLOAT)


def test_the_metadata_of_the_file_describes_its_use(bundle: Bundle) -> None:
    for variant in bundle.variants():
        facts = {prop.key: prop.value for prop in onnx.load(bundle.file("model", variant)).metadata_props}
        assert json.loads(facts["vegrt.classes"]) == list(bundle.manifest.classes)
        assert Contract.from_dict(json.loads(facts["vegrt.contract"])) == bundle.manifest.contract
        assert facts["vegrt.bundle_format"] == "1"
        assert facts["vegrt.weights_sha256"] == bundle.artifact("weights").sha256
        assert b"/torch/" not in bundle.file("model", variant).read_bytes()  # no trace of the exporting machine


def test_every_variant_answers_like_torch(bundle: Bundle, test_split: Split) -> None:
    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])
    want = TorchRunner(bundle).logits(images)
    tolerance = {"fp32": 1e-3, "fp16": 5e-2}
    for variant in bundle.variants():
        logits = open_onnxruntime(bundle.file("model", variant), float16=is_float16(bundle, variant)).logits(images)
        assert logits.dtype == np.float32
        if variant in tolerance:
            assert np.abs(logits - want).max() < tolerance[variant] * max(1, np.abs(want).max())
        assert (logits.argmax(axis=1) == want.argmax(axis=1)).mean() >= (1.0 if variant == "fp32" else 0.9)


def test_fp16_is_half_the_size_and_keeps_its_interface(bundle: Bundle) -> None:
    sizes = {
        artifact.variant: artifact.size_bytes for artifact in bundle.manifest.artifacts if artifact.role == "model"
    }
    assert 0.49 < sizes["fp16"] / sizes["fp32"] < 0.52
    assert sizes["int8"] / sizes["fp32"] < 0.28
    graph = onnx.load(bundle.file("model", "fp16")).graph
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert {kind for name, kind in weights.items() if name.endswith("weight")} == {onnx.TensorProto.FLOAT16}


def test_weights_beyond_fp16_are_named(bundle: Bundle) -> None:
    model = ir.load(bundle.file("model", "fp32"))
    value = model.graph.initializers["fc.weight"]
    assert value.const_value is not None
    value.const_value = ir.Tensor(value.const_value.numpy() * np.float32(1e7), name="fc.weight")
    with pytest.raises(ModelError, match=r"fc\.weight: weights up to .* exceed float16"):
        to_fp16(model)


def test_an_exporter_that_fails_the_gate_is_dropped_and_the_older_gives_the_same_graph(
    bundle: Bundle, test_split: Split
) -> None:
    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])
    sources: list[bytes] = []

    def gate(source: bytes) -> Parity:
        sources.append(source)
        if len(sources) == 1:
            raise ModelError("fp32.onnx: cosine 0.5")
        return compare_logits(TorchRunner(bundle).logits(images), open_onnxruntime(source).logits(images))

    exported = export_passing(bundle, gate, opset=19)
    assert exported.details() == {
        "exporter": "torchscript",
        "dropped_exporters": {"torch.export": "fp32.onnx: cosine 0.5"},
        "opset": 19,
    }
    assert (exported.source, exported.parity.top1_agreement) == (sources[1], 1.0)
    assert exported.parity.max_abs_error < 1e-4
    new, old = ir.load(bundle.file("model", "fp32")), exported.model
    assert Counter(node.op_type for node in old.graph) == Counter(node.op_type for node in new.graph)
    layers = [[node.name for node in model.graph if node.op_type in {"Conv", "Gemm"}] for model in (new, old)]
    assert layers[0] == layers[1]
    assert len(layers[0]) == 16
    assert set(new.graph.initializers) == set(old.graph.initializers)
    assert plan_quantization(old, "signed").weights == plan_quantization(new, "signed").weights
    to_fp16(old)
    serialize(old)


def test_an_opset_without_half_scales_or_without_exporter_is_refused(bundle: Bundle) -> None:
    assert bundle.artifact("model", "fp32").details["opset"] == 20
    assert bundle.artifact("model", "fp32").details["exporter"] == EXPORTERS[0]
    with pytest.raises(ModelError, match=r"--opset 18: int8\.onnx has float16 scales, which need opset 19"):
        check_opset(18)
    with pytest.raises(ModelError, match=r"--opset 99: onnx .* supports up to \d+"):
        check_opset(99)


def test_if_no_exporter_passes_every_reason_is_given(bundle: Bundle) -> None:
    mismatched = replace(bundle, manifest=replace(bundle.manifest, model={"backbone": "resnet50", "head": "gap"}))
    with pytest.raises(
        ModelError, match=r"torch\.export: .*does not fit resnet50.*; torchscript: .*does not fit resnet50"
    ):
        export_passing(mismatched, lambda source: Parity(0, 0.0, 1.0, 0.0))


def test_bf16_keeps_the_interface_and_rounds_to_eight_bits(bundle: Bundle, test_split: Split, tmp_path: Path) -> None:
    fp32 = ir.load(bundle.file("model", "fp32"))
    bf16, rounded = copy_graph(fp32), copy_graph(fp32)
    to_bf16(bf16)
    proto = onnx.load_model_from_string(serialize(bf16))
    weights = {tensor.data_type for tensor in proto.graph.initializer if tensor.name.endswith("weight")}
    assert weights == {onnx.TensorProto.BFLOAT16}
    assert proto.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    round_to_bf16(rounded)
    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])
    want = open_onnxruntime(serialize(fp32)).logits(images)
    logits = open_onnxruntime(serialize(rounded)).logits(images)
    error = np.abs(want - logits).max() / np.abs(want).max()
    assert 1e-4 < error < 0.1  # bfloat16 has 8 bits: neither exact nor wrong
    (tmp_path / "bf16.onnx").write_bytes(serialize(bf16))
    real = open_openvino(tmp_path / "bf16.onnx").logits(images)
    assert 1e-4 < np.abs(want - real).max() / np.abs(want).max() < 0.1


def test_a_layer_beyond_float16_is_named_with_its_value(bundle: Bundle, test_split: Split) -> None:
    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos[:8]])
    model = ir.load(bundle.file("model", "fp32"))
    assert 0 < check_overflow(copy_graph(model), [images]) < 65504
    value = model.graph.initializers["layer3.0.conv1.weight"]
    assert value.const_value is not None
    value.const_value = ir.Tensor(value.const_value.numpy() * np.float32(1e6), name=value.name)
    with pytest.raises(ModelError, match=r"layer3\.0\.conv1 \d\.\d+e\+06.* Relu after layer3\.0\.conv1"):
        check_overflow(model, [images])


@pytest.mark.parametrize(("operator", "word"), [("Sqrt", "NaN"), ("Reciprocal", "infinity")])
def test_nan_and_infinity_are_named_with_layer_tensor_and_photo(operator: str, word: str) -> None:
    """A layer that only breaks on black: the root of less than 0, one divided by 0. Comparisons with NaN are false."""
    offset = numpy_helper.from_array(np.array(-1 if operator == "Sqrt" else 0, np.float32), "offset")
    middle = numpy_helper.from_array(np.array([1, 2], np.int64), "middle")
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Add", ["float", "offset"], ["shifted"], "shift"),
        helper.make_node(operator, ["shifted"], ["odd"], "odd_layer"),
        helper.make_node("ReduceMean", ["odd", "middle"], ["logits"], "mean", keepdims=0),
    ]
    pixels = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 4, 4, 3])
    result = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "odd", [pixels], [result], [offset, middle])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model = ir.passes.common.ShapeInferencePass()(ir.from_proto(proto)).model
    images = np.full((4, 4, 4, 3), 9, np.uint8)
    assert check_overflow(copy_graph(model), [images]) == 9
    images[3] = 0
    message = (
        rf"fp32\.onnx: odd_layer gives {word} \(tensor odd, 48 of 96 values\) for d\.jpg; the float32 network itself"
    )
    with pytest.raises(ModelError, match=message):
        check_overflow(model, [images[:2], images[2:]], ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
