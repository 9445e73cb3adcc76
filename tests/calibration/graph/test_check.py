"""One hand-made graph for each rule of placement, what TensorRT-RTX says of it, and the backbones, which break none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from safetensors.torch import save_file

from vegrt.backbones import build_network, contract_of
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Manifest
from vegrt.calibration.graph.check import RULES, check_placement
from vegrt.calibration.graph.encode import Range, insert_qdq
from vegrt.calibration.graph.onnx_graph import copy_graph, serialize
from vegrt.calibration.graph.placement import Encoding, plan_quantization, quantizable_nodes
from vegrt.errors import EngineError, ModelError
from vegrt.export.engines.build import build_engine
from vegrt.export.engines.options import Profile
from vegrt.export.onnx.fp16 import to_fp16
from vegrt.export.onnx.model import export_fp32

CHANNELS = 8


@dataclass(frozen=True)
class Layer:
    """data -> Q -> DQ -> Conv -> Relu -> result, its weight behind a DQ. Every test changes one thing of it.

    product: a Gemm or MatMul instead, its weight (in, out). between: a pair between the Conv and the Relu too. pair: both halves
    of the data's pair are there.
    """

    opset: int = 20
    scale: Any = field(default_factory=lambda: np.float32(0.05))
    zero_point: Any = field(default_factory=lambda: np.int8(0))
    weight_scale: Any = field(default_factory=lambda: np.full(CHANNELS, 0.01, np.float32))
    weight_zero: Any = field(default_factory=lambda: np.zeros(CHANNELS, np.int8))
    axis: int = 0
    bias: Any = field(default_factory=lambda: np.zeros(CHANNELS, np.float32))
    quantize_data: bool = True
    quantize_weight: bool = True
    pair: bool = True
    between: bool = False
    product: str = ""

    def model(self) -> ir.Model:
        kind = ir.DataType.from_numpy(np.asarray(self.scale).dtype)
        size = (CHANNELS,) if self.product else (CHANNELS, 6, 6)
        data = ir.Value(name="data", shape=ir.Shape(["N", *size]), type=ir.TensorType(kind))
        graph = ir.Graph([data], [], nodes=[], opset_imports={"": self.opset}, name="tiny")
        layer_input = self._pair(graph, "data", data) if self.quantize_data else data
        inputs = [layer_input, self._weight(graph), *([] if self.product == "MatMul" else [self._bias(graph)])]
        result = self._node(graph, self.product or "Conv", "conv", inputs, {})
        result = self._pair(graph, "conv", result) if self.between else result
        result = self._node(graph, "Relu", "relu", [result], {})
        result.shape, result.type = ir.Shape(["N", *(size if self.product else (CHANNELS, 4, 4))]), ir.TensorType(kind)
        graph.outputs.append(result)
        return ir.Model(graph, ir_version=10)

    def _pair(self, graph: ir.Graph, name: str, value: ir.Value) -> ir.Value:
        parameters = [constant(graph, f"{name}.scale", self.scale), constant(graph, f"{name}.zero", self.zero_point)]
        axis = {"axis": 1}
        quantized = self._node(graph, "QuantizeLinear", f"{name}.quantize", [value, *parameters], axis)
        if not self.pair:
            return self._node(graph, "Cast", f"{name}.cast", [quantized], {"to": int(ir.DataType.FLOAT)})
        return self._node(graph, "DequantizeLinear", f"{name}.dequantize", [quantized, *parameters], axis)

    def _weight(self, graph: ir.Graph) -> ir.Value:
        shape = (CHANNELS, CHANNELS) if self.product else (CHANNELS, CHANNELS, 3, 3)
        weights = np.random.default_rng(0).integers(-127, 128, shape).astype(np.int8)
        if not self.quantize_weight:
            return constant(graph, "weight", (weights * 0.01).astype(np.asarray(self.scale).dtype))
        parts = [constant(graph, "weight", weights), constant(graph, "weight.scale", self.weight_scale)]
        parts.append(constant(graph, "weight.zero", self.weight_zero))
        return self._node(graph, "DequantizeLinear", "weight.dequantize", parts, {"axis": self.axis})

    def _bias(self, graph: ir.Graph) -> ir.Value:
        bias = constant(graph, "bias", self.bias)
        if self.bias.dtype != np.int32:
            return bias
        scale = constant(graph, "bias.scale", np.full(CHANNELS, 0.0005, np.float32))
        return self._node(graph, "DequantizeLinear", "bias.dequantize", [bias, scale], {"axis": 0})

    def _node(
        self, graph: ir.Graph, kind: str, name: str, inputs: Sequence[ir.Value], attributes: dict[str, int]
    ) -> ir.Value:
        node = ir.node(kind, inputs, attributes, name=name)
        node.outputs[0].name = f"{name}.out"
        graph.append(node)
        return node.outputs[0]


def constant(graph: ir.Graph, name: str, array: Any) -> ir.Value:
    if name in graph.initializers:
        return graph.initializers[name]
    tensor = ir.Tensor(np.asarray(array), name=name)
    value = ir.Value(name=name, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


GOOD = Layer()
HALF = Layer(
    scale=np.float16(0.05), weight_scale=np.full(CHANNELS, 0.01, np.float16), bias=np.zeros(CHANNELS, np.float16)
)
UNSIGNED = replace(GOOD, zero_point=np.uint8(0))
SCALES = {"zero": 0.0, "negative": -0.05, "not a number": np.nan, "infinite": np.inf, "subnormal": 1e-40}


def one_scale(value: float) -> Any:
    scales = np.full(CHANNELS, 0.01, np.float32)
    scales[3] = value
    return scales


@dataclass(frozen=True)
class Broken:
    """A graph against a rule. message: what check_placement says."""

    layer: Layer
    message: str


BROKEN = {
    "zero point": Broken(replace(GOOD, zero_point=np.int8(3)), "data.quantize: zero point 3; zero points are 0"),
    "unsigned": Broken(UNSIGNED, "data.quantize: 8-bit type UINT8; activations of this encoding are INT8"),
    "scale per channel": Broken(
        replace(GOOD, scale=np.full(CHANNELS, 0.05, np.float32), zero_point=np.zeros(CHANNELS, np.int8)),
        "data.quantize: 8 scales; activations have one scale per tensor",
    ),
    "half at opset 17": Broken(
        replace(HALF, opset=17), "data.quantize: float16 scale at opset 17; float16 scales need opset 19"
    ),
    "weight per tensor": Broken(
        replace(GOOD, weight_scale=np.float32(0.01), weight_zero=np.int8(0)),
        "weight.dequantize: scales [] on axis 0 of a weight [8, 8, 3, 3]; a Conv's weight has one scale per output channel",
    ),
    "weight axis": Broken(
        replace(GOOD, axis=1),
        "weight.dequantize: scales [8] on axis 1 of a weight [8, 8, 3, 3]; a Conv's weight has one",
    ),
    "gemm axis": Broken(
        replace(GOOD, product="Gemm", axis=0),
        "weight.dequantize: scales [8] on axis 0 of a weight [8, 8]; a Gemm's weight has one scale per output channel, axis 1",
    ),
    "matmul axis": Broken(
        replace(GOOD, product="MatMul", axis=0),
        "weight.dequantize: scales [8] on axis 0 of a weight [8, 8]; a MatMul's weight has one scale per output channel, axis 1",
    ),
    "matmul of float data": Broken(
        replace(GOOD, product="MatMul", axis=1, quantize_data=False),
        "conv: quantized weight, float data; both or neither are quantized",
    ),
    "asymmetric weight": Broken(
        replace(GOOD, weight_zero=np.full(CHANNELS, 5, np.int8)),
        "weight.dequantize: weight zero point 5; weights are symmetric",
    ),
    "integer bias": Broken(
        replace(GOOD, bias=np.zeros(CHANNELS, np.int32)), "bias.dequantize: dequantizes a bias; biases stay in float"
    ),
    "pair before the activation": Broken(
        replace(GOOD, between=True), "conv.quantize: between conv and relu; no pair stands between a Conv and its Relu"
    ),
    "float weight": Broken(
        replace(GOOD, quantize_weight=False), "conv: quantized data, float weight; both or neither are quantized"
    ),
    "float data": Broken(
        replace(GOOD, quantize_data=False), "conv: quantized weight, float data; both or neither are quantized"
    ),
    "mixed": Broken(
        replace(HALF, weight_scale=GOOD.weight_scale), "conv: inputs of FLOAT16, FLOAT, FLOAT16; all inputs have one"
    ),
    "no dequantize": Broken(
        replace(GOOD, pair=False), "data.quantize: not read by a DequantizeLinear alone; every QuantizeLinear"
    ),
    "half subnormal": Broken(
        replace(HALF, scale=np.float16(1e-6)),
        "data.quantize: scale 1.01e-06; scales are finite, positive and not subnormal",
    ),
    "half rounded to zero": Broken(replace(HALF, scale=np.float16(1e-9)), "data.quantize: scale 0; scales are finite"),
} | {
    f"{kind} {name}": Broken(layer, f"{node}: scale {value:.3g}; scales are finite, positive and not subnormal")
    for name, value in SCALES.items()
    for kind, node, layer in (
        ("data", "data.quantize", replace(GOOD, scale=np.float32(value))),
        ("weight", "weight.dequantize", replace(GOOD, weight_scale=one_scale(value))),
    )
}

# Of these TensorRT-RTX 1.7 builds an engine all the same. It computes the starred ones in Float, against their purpose.
ACCEPTED_BY_RTX = {
    "unsigned",
    "scale per channel",  # *
    "half at opset 17",  # which ONNX forbids
    "weight per tensor",
    "weight axis",  # *
    "gemm axis",
    "matmul axis",
    "matmul of float data",  # *
    "pair before the activation",
    "float weight",  # *
    "float data",  # *
    "no dequantize",  # *
    "half subnormal",
    *(f"{kind} {name}" for kind in ("data", "weight") for name in ("infinite", "subnormal")),
}


@pytest.mark.parametrize("layer", [GOOD, HALF, *(replace(GOOD, product=kind, axis=1) for kind in ("Gemm", "MatMul"))])
def test_a_graph_that_keeps_the_rules_passes(layer: Layer) -> None:
    check_placement(layer.model(), "signed")
    float_layer = replace(layer, quantize_data=False, quantize_weight=False)
    check_placement(float_layer.model(), "signed")  # imprecise is not broken


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_rule_is_one_line_that_names_the_node(name: str) -> None:
    with pytest.raises(ModelError) as refused:
        check_placement(BROKEN[name].layer.model(), "signed")
    assert str(refused.value).startswith(BROKEN[name].message)
    assert "\n" not in str(refused.value)


def test_the_cpu_encoding_has_its_own_rules() -> None:
    assert RULES["unsigned"] != RULES["signed"]
    for change in ({"zero_point": np.uint8(7)}, {"bias": np.zeros(CHANNELS, np.int32)}, {"quantize_weight": False}):
        check_placement(replace(UNSIGNED, **change).model(), "unsigned")
        with pytest.raises(ModelError):
            check_placement(replace(GOOD if "bias" in change else UNSIGNED, **change).model(), "signed")
    with pytest.raises(ModelError, match="8-bit type INT8; activations of this encoding are UINT8"):
        check_placement(GOOD.model(), "unsigned")
    with pytest.raises(ModelError, match="quantized weight, float data"):
        check_placement(replace(UNSIGNED, quantize_data=False).model(), "unsigned")


@pytest.mark.parametrize("name", ["sound", *BROKEN])
def test_files_that_the_builder_itself_accepts(name: str) -> None:
    trt: Any = pytest.importorskip("tensorrt_rtx", reason="builds real plans: pip install 'vegrt[rtx]'")
    layer = BROKEN[name].layer if name in BROKEN else GOOD
    model: bytes = ir.to_proto(layer.model()).SerializeToString()
    if name in {"sound", *ACCEPTED_BY_RTX}:
        build_engine(trt, name, model, Profile())
    else:
        with pytest.raises(EngineError):
            build_engine(trt, name, model, Profile())


def test_a_hard_backbone_keeps_the_rules(tmp_path: Path) -> None:
    fp32 = export_fp32(untrained("mobilenet_v2", tmp_path / "bundle"))
    fp16 = copy_graph(fp32)
    to_fp16(fp16)
    some = frozenset(
        str(node.name) for node in list(quantizable_nodes(fp32))[3:5]
    )  # left in float, as a budget may ask for
    plans: list[tuple[ir.Model, Encoding, frozenset[str]]] = [
        (copy_graph(fp32), "signed", frozenset()),
        (fp16, "signed", some),
        (copy_graph(fp32), "unsigned", frozenset()),
        (fp32, "unsigned", some),
    ]
    for model, encoding, float_layers in plans:
        placement = plan_quantization(model, encoding, float_layers=float_layers)
        assert placement.weights
        low = -1.0 if encoding == "signed" else 0.0
        insert_qdq(model, placement, dict.fromkeys(placement.activations, Range(low, 1.0)), encoding)
        check_placement(model, encoding)
        serialize(model)


def untrained(backbone: str, path: Path) -> Bundle:
    """Return a bundle of random weights for 64 x 64 pixels."""
    with changing(path) as staging:
        save_file(build_network(backbone, 3).state_dict(), staging.file("weights.safetensors"))
        staging.add("weights.safetensors", "weights")
        model = {"backbone": backbone, "head": "gap"}
        staging.finish(Manifest(backbone, ("a", "b", "c"), contract_of(backbone, 64), model))
    return open_bundle(path)
