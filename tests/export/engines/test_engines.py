"""Real TensorRT-RTX plans, built without a GPU, and what the builder says of their layers."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.change import Staging
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.errors import EngineError, MissingExtraError
from vegrt.export.engines.build import BuildOptions, ExportOptions, Profile, build_engine
from vegrt.export.engines.engines import add_engines, audit_model, check_audit, find_targets, weight_layer_names
from vegrt.export.engines.layers import Layer, audit_layers, parse_layers
from vegrt.export.onnx.fp16 import to_bf16

trt = pytest.importorskip("tensorrt_rtx", reason="builds real plans: pip install 'vegrt[rtx]'")


@pytest.mark.parametrize(("variant", "wanted"), [("fp16", "Half"), ("int8", "Int8")])
def test_the_builder_lists_every_weight_layer_with_the_requested_type(
    bundle: Bundle, variant: str, wanted: str
) -> None:
    plan = bundle.file("engine", variant)
    assert plan.stat().st_size > 1_000_000
    audit = json.loads(bundle.file("audit", variant).read_text())
    matched = 20 if variant == "int8" else 21  # the classifier is not quantized, and counted all the same
    assert (audit["wanted"], audit["matched"], audit["weight_layers"]) == (wanted, matched, 21)
    types = {name: layer["inputs"][0] for layer in audit["layers"] if layer["type"] != "kgen" for name in layer["onnx"]}
    assert types["layer4.1.conv2"] == wanted
    assert any(key.startswith("correlation") for key in audit["summary"])


def test_the_audit_does_not_accept_fp16_as_int8(bundle: Bundle) -> None:
    audit = json.loads(bundle.file("audit", "fp16").read_text())
    keys = ("inputs", "outputs", "onnx")
    layers = [Layer(row["name"], row["type"], *(tuple(row[key]) for key in keys)) for row in audit["layers"]]
    names = weight_layer_names(bundle.file("model", "fp16").read_bytes())
    failed = audit_layers(layers, names, "Int8")
    assert failed.matched == 0
    with pytest.raises(EngineError, match=r"fp16\.onnx: 0 of 21 weight layers Int8"):
        check_audit("fp16.onnx", failed)


def test_a_convolution_left_in_float_on_purpose_is_no_fallback(bundle: Bundle) -> None:
    fp32, int8 = (onnx.load(bundle.file("model", variant)) for variant in ("fp16", "int8"))
    last = next(node for node in int8.graph.node if node.name == "layer4.1.conv2")
    pairs = {node.output[0]: node for node in int8.graph.node}
    last.input[0] = pairs[pairs[last.input[0]].input[0]].input[0]  # what its Q/DQ pair reads
    last.input[1] = "float.weight"
    weight = next(tensor for tensor in fp32.graph.initializer if tensor.name == "layer4.1.conv2.weight")
    weight.name = "float.weight"
    int8.graph.initializer.append(weight)
    mixed = int8.SerializeToString()
    assert "layer4.1.conv2" not in weight_layer_names(mixed, quantized=True)
    audit = audit_model(build_engine(trt, "mixed", mixed, Profile()).layers, mixed, "Int8")
    assert (audit.weight_layers, audit.matched, audit.in_float, audit.fallbacks) == (
        21,
        19,
        ("layer4.1.conv2", "fc"),
        (),
    )
    words = "19 of 21 weight layers Int8; left in float: layer4.1.conv2, fc"
    assert audit.to_dict()["in_words"] == str(audit) == words
    check_audit("mixed", audit)
    check_audit("mixed", audit, min_share=0.9)
    with pytest.raises(EngineError, match=r"19 of 21 weight layers Int8; .*; 90\.5%, expected at least 91\.0%"):
        check_audit("mixed", audit, min_share=0.91)


def test_a_share_allows_fallbacks_and_names_them(bundle: Bundle) -> None:
    layers = [Layer("a", "conv", ("Int8",), ("Int8",), ("one",)), Layer("b", "conv", ("Half",), ("Half",), ("two",))]
    audit = audit_layers(layers, ["one", "two"], "Int8")
    check_audit("int8.onnx", audit, min_share=0.5)
    with pytest.raises(EngineError, match=r"1 of 2 weight layers Int8; chosen by the builder: two \(Half\)"):
        check_audit("int8.onnx", audit)
    with pytest.raises(EngineError, match="expected a share between 0 and 1"):
        ExportOptions(min_int8=80)


def test_fp32_and_bf16_engines_are_built_on_request(bundle: Bundle, tmp_path: Path) -> None:
    fp32 = ir.load(bundle.file("model", "fp32"))
    models = {variant: bundle.file("model", variant).read_bytes() for variant in bundle.variants()}
    to_bf16(fp32)
    models["bf16"] = serialize(fp32)
    staging = Staging(tmp_path)
    options = ExportOptions(
        bf16=True, fp32_engine=True, profile=Profile(1, 2, 4), build=BuildOptions(64, 1, False, True)
    )
    add_engines(staging, models, required=True, options=options)
    engines = {one.variant: one for one in staging.added if one.role == "engine"}
    wanted = {variant: (one.details["wanted"], one.details["matched"]) for variant, one in engines.items()}
    assert wanted == {"fp32": ("Float", 21), "fp16": ("Half", 21), "bf16": ("BFloat16", 21), "int8": ("Int8", 20)}
    assert {one.path.split("/")[1].split("-", 2)[2] for one in engines.values()} == {"sm80plus-b1-2-4-hc"}
    assert (engines["int8"].details["level"], engines["int8"].details["workspace_mib"]) == (1, 64)


def test_engines_that_tensorrt_rtx_cannot_build_are_reported(bundle: Bundle, tmp_path: Path) -> None:
    options = ExportOptions(build=BuildOptions(version_compatible=True))
    models = {variant: bundle.file("model", variant).read_bytes() for variant in bundle.variants()}
    if {target.module.__name__ for target in find_targets()} == {"tensorrt_rtx"}:
        with pytest.raises(MissingExtraError, match="--engine: neither tensorrt"):
            add_engines(Staging(tmp_path), models, required=True, options=options)
    with pytest.raises(EngineError, match="cannot build it"):
        build_engine(trt, "fp16", models["fp16"], Profile(), options=options.build)


def test_layers_are_read_from_the_log_of_the_builder() -> None:
    text = (
        "Engine Layer Information:\nLayers:\n"
        "Name: conv1 + relu, LayerType: conv, Inputs: [ { Name: a, Location: Device, Dimensions: [-1,3,8,8], Datatype: Int8 }], "
        "Constants: [], Outputs: [ { Name: b, Location: Device, Dimensions: [-1,8,8,8], Datatype: Half }], TacticName: t, "
        "StreamId: 0, Metadata: [ONNX Layer: conv1][ONNX Layer: node_relu]\nnot a layer"
    )
    assert parse_layers([text]) == (Layer("conv1 + relu", "conv", ("Int8",), ("Half",), ("conv1", "node_relu")),)
    assert parse_layers(["nothing here"]) == ()


def test_a_graph_that_tensorrt_refuses_is_one_engine_error(bundle: Bundle) -> None:
    model = onnx.load(bundle.file("model", "fp32"))
    model.graph.node[5].op_type = "NoSuchOperator"
    with pytest.raises(EngineError, match="fp32: tensorrt_rtx cannot parse it"):
        build_engine(trt, "fp32", model.SerializeToString(), Profile())
    with pytest.raises(EngineError, match="tensorrt_rtx cannot parse it"):
        build_engine(trt, "fp32", b"not a model", Profile())


def test_a_profile_must_be_in_order() -> None:
    assert Profile.parse("1,4,16") == Profile(1, 4, 16)
    for text in ("8", "1,x,3", "1,2,3,4"):
        with pytest.raises(EngineError, match="expected three numbers MIN,OPT,MAX"):
            Profile.parse(text)
    assert str(Profile(1, 4, 16)) == "b1-4-16"
    with pytest.raises(EngineError, match="expected 1 <= smallest"):
        Profile(4, 2, 16)


def test_a_failed_engine_build_only_fails_the_export_if_engines_are_required(bundle: Bundle, tmp_path: Path) -> None:
    models = {
        variant: bundle.file("model", "fp32").read_bytes() for variant in ("fp16", "int8")
    }  # neither Half nor Int8
    staging = Staging(tmp_path)
    add_engines(staging, models, required=None)
    assert staging.added == []
    with pytest.raises(EngineError, match="0 of 21 weight layers Half"):
        add_engines(staging, models, required=True)


def test_an_unknown_layer_list_is_no_proof() -> None:
    with pytest.raises(EngineError, match="cannot be checked"):
        check_audit("int8.onnx", audit_layers((), ["conv1"], "Int8"))
