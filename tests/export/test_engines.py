"""Real TensorRT-RTX plans, built without a GPU, and what the builder says of their layers."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from vegrt.bundle import Bundle, Staging
from vegrt.errors import EngineError
from vegrt.export.engine import Profile, build_engine
from vegrt.export.engines import add_engines, check_audit, convolutions
from vegrt.export.layers import Layer, audit_layers, parse_layers

trt = pytest.importorskip("tensorrt_rtx", reason="builds real plans: pip install 'vegrt[rtx]'")


@pytest.mark.parametrize(("variant", "wanted"), [("fp16", "Half"), ("int8", "Int8")])
def test_the_builder_lists_every_convolution_with_the_type_asked_for(bundle: Bundle, variant: str, wanted: str) -> None:
    plan = bundle.file("engine", variant)
    assert plan.stat().st_size > 1_000_000
    audit = json.loads(bundle.file("audit", variant).read_text())
    assert (audit["wanted"], audit["matched"], audit["convolutions"]) == (wanted, 20, 20)
    types = {name: layer["inputs"][0] for layer in audit["layers"] if layer["type"] != "kgen" for name in layer["onnx"]}
    assert types["layer4.1.conv2"] == wanted
    assert any(key.startswith("correlation") for key in audit["summary"])


def test_the_audit_does_not_take_fp16_for_int8(bundle: Bundle) -> None:
    audit = json.loads(bundle.file("audit", "fp16").read_text())
    keys = ("inputs", "outputs", "onnx")
    layers = [Layer(row["name"], row["type"], *(tuple(row[key]) for key in keys)) for row in audit["layers"]]
    names = convolutions(bundle.file("model", "fp16").read_bytes())
    failed = audit_layers(layers, names, "Int8")
    assert failed.matched == 0
    with pytest.raises(EngineError, match=r"fp16\.onnx: 0 of 20 convolutions are Int8"):
        check_audit("fp16.onnx", failed)


def test_layers_are_read_from_the_builders_own_words() -> None:
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
    assert str(Profile(1, 4, 16)) == "b1-4-16"
    with pytest.raises(EngineError, match="expected 1 <= smallest"):
        Profile(4, 2, 16)


def test_an_engine_that_cannot_be_built_costs_the_export_nothing_unless_asked_for(
    bundle: Bundle, tmp_path: Path
) -> None:
    models = {
        variant: bundle.file("model", "fp32").read_bytes() for variant in ("fp16", "int8")
    }  # neither Half nor Int8
    staging = Staging(tmp_path)
    add_engines(staging, models, required=None)
    assert staging.added == []
    with pytest.raises(EngineError, match="0 of 20 convolutions are Half"):
        add_engines(staging, models, required=True)


def test_an_unknown_layer_list_is_not_taken_for_proof() -> None:
    with pytest.raises(EngineError, match="cannot be proven"):
        check_audit("int8.onnx", audit_layers((), ["conv1"], "Int8"))
