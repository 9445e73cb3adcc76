"""Networks with a class token: they read the batch size, after the Cast, and TensorRT-RTX builds them."""

from __future__ import annotations

import warnings

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vegrt.calibration.graph.check import check_placement
from vegrt.calibration.graph.encode import Range, insert_qdq
from vegrt.calibration.graph.onnx_graph import copy_graph, expose_tensors, serialize
from vegrt.calibration.graph.placement import Encoding, plan_quantization
from vegrt.calibration.graph.quantize import ENCODINGS, quantize_graph
from vegrt.errors import ModelError
from vegrt.export.engines.audit import audit_model, check_audit
from vegrt.export.engines.build import build_engine
from vegrt.export.engines.options import Profile
from vegrt.export.onnx.fp16 import round_to_bf16, to_fp16
from vegrt.export.onnx.model import EXPORTERS, Exporter, by_torch_export, by_torchscript
from vegrt.export.onnx.tidy import tidy
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.onnxruntime.session import read_tensors
from vegrt.networks import WithPreprocessing
from vegrt.photo.contract import Contract

SIZE, WIDTH = 32, 32


class Tokens(nn.Module):
    """A patch embedding, a class token, one block of attention and a linear layer, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.norm, self.keys, self.wide = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(images.shape[0], -1, -1), tokens], dim=1)
        query, key, value = self.keys(self.norm(tokens)).chunk(3, dim=2)
        tokens = tokens + self.wide(torch.softmax(query @ key.transpose(1, 2) / WIDTH**0.5, dim=2) @ value)
        logits: Tensor = self.head(tokens[:, 0])
        return logits


@pytest.fixture(scope="module", params=EXPORTERS)
def exported(request: pytest.FixtureRequest) -> tuple[WithPreprocessing, ir.Model]:
    torch.manual_seed(0)
    network = WithPreprocessing(Tokens(), Contract(SIZE, SIZE)).eval()
    exporter: Exporter = request.param
    run = by_torch_export if exporter == "torch.export" else by_torchscript
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own internals
        model = run(network, torch.zeros((2, SIZE, SIZE, 3), dtype=torch.uint8), 20)
    return network, model


def test_only_the_cast_reads_the_pixels_and_every_precision_answers(
    exported: tuple[WithPreprocessing, ir.Model],
) -> None:
    network, model = exported[0], copy_graph(exported[1])
    tidy(model)
    assert [node.op_type for node in model.graph.inputs[0].consumers()] == ["Cast"]
    assert model.graph[0].op_type == "Cast"
    images = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    with torch.inference_mode():
        want = network(torch.from_numpy(images)).numpy()
    half, rounded = copy_graph(model), copy_graph(model)
    to_fp16(half)
    round_to_bf16(rounded)
    signed, unsigned = (quantized(model, images, encoding) for encoding in ENCODINGS)
    tolerances = ((model, 1e-4), (half, 2e-2), (rounded, 0.1), (signed, 0.1), (unsigned, 0.1))
    for graph, tolerance in tolerances:
        runner = open_onnxruntime(serialize(graph), float16=graph is half)
        for count in (1, 5):
            np.testing.assert_allclose(runner.logits(images[:count]), want[:count], atol=tolerance * np.abs(want).max())
    types = [value.dtype for value in half.graph.initializers.values() if "patches.weight" in str(value.name)]
    assert types == [ir.DataType.FLOAT16]


def quantized(model: ir.Model, images: NDArray[np.uint8], encoding: Encoding) -> ir.Model:
    """Return the 8-bit graph with the exact ranges of these images."""
    result, names = copy_graph(model), list(plan_quantization(model, encoding).activations)
    tensors = read_tensors(expose_tensors(copy_graph(model), names), names)(images)
    ranges = [Range(float(values.min(initial=0)), float(values.max(initial=0))) for values in tensors]
    quantize_graph(result, encoding, dict(zip(names, ranges, strict=True)))
    return result


def test_layers_are_named_after_their_modules(exported: tuple[WithPreprocessing, ir.Model]) -> None:
    model = copy_graph(exported[1])
    tidy(model)
    names = [node.name for node in model.graph if node.op_type == "MatMul"]
    if "keys" in names:  # the newer exporter notes the module
        assert [*names[:1], *names[-1:]] == ["keys", "wide"]
    assert len(set(names)) == 4


def test_the_contract_is_found_by_following_the_pixels_in_any_order(
    exported: tuple[WithPreprocessing, ir.Model],
) -> None:
    """In a graph that was not tidied, a Shape of the pixels and constants come before the Cast."""
    model = copy_graph(exported[1])
    cast = next(node for node in model.graph if node.op_type == "Cast")
    shape = ir.node("Shape", [model.graph.inputs[0]], name="asks_first")
    shape.outputs[0].name = "asked"
    model.graph.insert_before(cast, shape)
    to_fp16(model)
    assert [node.op_type for node in model.graph].index("Shape") < [node.op_type for node in model.graph].index("Cast")
    (behind,) = [node for node in model.graph if node.name == "to_float16"]
    assert behind.inputs[0] is not None
    producer = behind.inputs[0].producer()
    assert producer is not None
    assert producer.op_type == "Add"


def test_pixels_that_another_operator_reads_are_refused(exported: tuple[WithPreprocessing, ir.Model]) -> None:
    model = copy_graph(exported[1])
    second_reader = ir.node("Flatten", [model.graph.inputs[0]], name="other")
    model.graph.insert_before(model.graph[0], second_reader)
    with pytest.raises(ModelError, match=r"images is read by .*Flatten; expected the contract's Cast alone"):
        to_fp16(model)


@pytest.mark.parametrize("variant", ["fp16", "int8"])
def test_plans_are_built_and_every_linear_layer_is_counted(
    exported: tuple[WithPreprocessing, ir.Model], variant: str
) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="builds real plans: pip install 'vegrt[rtx]'")
    model = copy_graph(exported[1])
    tidy(model)
    to_fp16(model)
    if variant == "int8":
        placement = plan_quantization(model, "signed")
        insert_qdq(model, placement, dict.fromkeys(placement.activations, Range(-1.0, 1.0)), "signed")
        check_placement(model, "signed")
    source = serialize(model)
    engine = build_engine(trt, variant, source, Profile(1, 2, 4))
    audit = audit_model(engine.layers, source, "Int8" if variant == "int8" else "Half")
    assert (audit.weight_layers, audit.matched, audit.fallbacks) == (4, 3 if variant == "int8" else 4, ())
    check_audit(variant, audit)
