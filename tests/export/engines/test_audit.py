"""The layer audit: what passes, what fails, and what is not known."""

from __future__ import annotations

import json
import logging

import onnx
import pytest

from vegrt.bundle.bundle import Bundle
from vegrt.errors import EngineError
from vegrt.export.engines.audit import audit_layers, audit_model, check_audit, weight_layer_names
from vegrt.export.engines.build import build_engine
from vegrt.export.engines.layers import Layer
from vegrt.export.engines.options import Profile

CONV = Layer("a", "conv", ("Int8",), ("Int8",), ("conv1",))
FALLBACK = Layer("b", "conv", ("Half",), ("Half",), ("conv2",))
NEW_WORDS = Layer("c", "conv", ("unknown (tiled E5M2)",), ("Half",), ("conv2",))


def layers_of(bundle: Bundle, variant: str) -> list[Layer]:
    audit = json.loads(bundle.file("audit", variant).read_text(encoding="utf-8"))
    return [
        Layer(row["name"], row["type"], tuple(row["inputs"]), tuple(row["outputs"]), tuple(row["onnx"]))
        for row in audit["layers"]
    ]


def test_fp16_is_not_accepted_as_int8(bundle: Bundle) -> None:
    names = weight_layer_names(bundle.file("model", "fp16").read_bytes())
    audit = audit_layers(layers_of(bundle, "fp16"), names, "Int8")
    assert audit.matched == 0
    with pytest.raises(EngineError, match=r"fp16\.onnx: 0 of 16 weight layers Int8"):
        check_audit("fp16.onnx", audit)


def test_a_convolution_left_in_float_on_purpose_is_no_fallback(bundle: Bundle) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="builds real plans: pip install 'vegrt[rtx]'")
    fp16, int8 = (onnx.load(bundle.file("model", variant)) for variant in ("fp16", "int8"))
    last = next(node for node in int8.graph.node if node.name == "layer4.0.conv2")
    pairs = {node.output[0]: node for node in int8.graph.node}
    last.input[0] = pairs[pairs[last.input[0]].input[0]].input[0]  # what its Q/DQ pair reads
    last.input[1] = "float.weight"
    weight = next(tensor for tensor in fp16.graph.initializer if tensor.name == "layer4.0.conv2.weight")
    weight.name = "float.weight"
    int8.graph.initializer.append(weight)
    mixed = int8.SerializeToString()
    assert "layer4.0.conv2" not in weight_layer_names(mixed, quantized=True)
    audit = audit_model(build_engine(trt, "mixed", mixed, Profile()).layers, mixed, "Int8")
    assert (audit.weight_layers, audit.matched, audit.fallbacks) == (16, 14, ())
    assert audit.in_float == ("layer4.0.conv2", "fc")
    words = "14 of 16 weight layers Int8; left in float: layer4.0.conv2, fc"
    assert audit.to_dict()["in_words"] == str(audit) == words
    check_audit("mixed", audit)
    check_audit("mixed", audit, min_share=0.85)
    with pytest.raises(EngineError, match=r"14 of 16 weight layers Int8; .*; 87\.5%, expected at least 90\.0%"):
        check_audit("mixed", audit, min_share=0.9)


def test_a_share_allows_fallbacks_and_names_them() -> None:
    audit = audit_layers([CONV, FALLBACK], ["conv1", "conv2"], "Int8")
    check_audit("int8.onnx", audit, min_share=0.5)
    with pytest.raises(EngineError, match=r"1 of 2 weight layers Int8; chosen by the builder: conv2 \(Half\)"):
        check_audit("int8.onnx", audit)


@pytest.mark.parametrize("layers", [[], [CONV, NEW_WORDS]])
def test_what_could_not_be_read_neither_passes_nor_fails(layers: list[Layer], caplog: pytest.LogCaptureFixture) -> None:
    audit = audit_layers(layers, ["conv1", "conv2"], "Int8")
    assert audit.fallbacks == ()
    with caplog.at_level(logging.WARNING):
        check_audit("int8.onnx", audit)
    reason = "conv2: unknown (tiled E5M2)" if layers else "conv1: unknown (not listed), conv2: unknown (not listed)"
    assert f"int8.onnx: {len(layers) // 2} of 2 weight layers Int8; not checked: {reason}" in caplog.text
    assert audit.counts()["unchecked"] == 2 - audit.matched


def test_a_demanded_share_has_to_be_proven() -> None:
    audit = audit_layers([CONV, NEW_WORDS], ["conv1", "conv2"], "Int8")
    assert (audit.share, audit.possible_share) == (0.5, 1.0)
    check_audit("int8.onnx", audit, min_share=0.5)
    with pytest.raises(
        EngineError, match=r"50\.0%, expected at least 90\.0% \(--min-int8\): not proven, leave --min-int8 out"
    ):
        check_audit("int8.onnx", audit, min_share=0.9)


def test_an_unknown_layer_does_not_hide_a_known_fallback() -> None:
    audit = audit_layers([FALLBACK], ["conv1", "conv2"], "Int8")
    with pytest.raises(EngineError, match=r"chosen by the builder: conv2 \(Half\); not checked: conv1"):
        check_audit("int8.onnx", audit)


def test_layers_that_disagree_on_a_node_are_unknown_unless_one_only_prepares_data() -> None:
    preparing = Layer("p", "kgen", ("Half",), ("Int8",), ("conv1",))
    assert audit_layers([preparing, CONV], ["conv1"], "Int8").matched == 1
    assert audit_layers([preparing], ["conv1"], "Half").matched == 1  # it computes the node itself
    split = Layer("s", "conv", ("Half",), ("Half",), ("conv1",))
    audit = audit_layers([CONV, split], ["conv1"], "Int8")
    assert audit.unchecked == ("conv1: unknown (Half and Int8)",)
