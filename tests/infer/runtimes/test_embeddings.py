from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import ModelError, VegrtError
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.mnn import kept_tensors
from vegrt.infer.runtimes.onnx_file import (
    INTERMEDIATE,
    InnerTensors,
    inner_tensors,
    last_downsampled,
    penultimate,
    read_nodes,
    with_outputs,
)
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Answers
from vegrt.networks import WithPreprocessing, load_network
from vegrt.photo.preprocess import load_image
from vegrt.protobuf import field, number_field

EMBEDDING = 96  # numbers per embedding of the small network
TOLERANCES = {
    "fp32": 0.02,
    "fp16": 0.01,
    "int8": 0.1,
    "int8-cpu": 0.1,
}  # of the largest; OpenVINO may compute in bfloat16


CANDIDATES = pytest.mark.parametrize(
    "candidate",
    [
        *(Candidate(variant, "onnxruntime") for variant in ("fp32", "fp16", "int8-cpu")),
        *(Candidate(variant, "openvino") for variant in ("fp32", "int8")),
        Candidate("fp32", "mnn"),
    ],
    ids=str,
)


@CANDIDATES
def test_the_classifier_of_the_embedding_is_the_answer(bundle: Bundle, test_split: Split, candidate: Candidate) -> None:
    variant = candidate.variant
    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos[:9]])
    runner = open_candidate(bundle, candidate, embeddings=True)
    answers = runner.answers(images)
    logits, embeddings = answers.logits, answers.embeddings
    assert embeddings is not None
    assert (embeddings.shape, embeddings.dtype) == ((9, EMBEDDING), np.dtype(np.float32))
    model = onnx.load(bundle.file("model", variant))
    weights = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in model.graph.initializer}
    again = embeddings @ weights["fc.weight"].T + weights["fc.bias"]
    exact = (
        variant == "fp32" and candidate.runtime != "openvino"
    )  # OpenVINO computes in bfloat16 where the processor can
    assert np.abs(again - logits).max() < (1e-3 if exact else 0.02)
    assert np.abs(open_candidate(bundle, candidate).logits(images) - logits).max() < 0.05
    first = embeddings.copy()
    runner.answers(images[::-1].copy())
    assert np.array_equal(embeddings, first)  # no buffer that the next call overwrites


def test_runtimes_without_embeddings_say_so(bundle: Bundle) -> None:
    with pytest.raises(VegrtError, match="torch does not give them"):
        open_candidate(bundle, Candidate("fp32", "torch"), embeddings=True)


def build(*nodes: onnx.NodeProto) -> bytes:
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 4])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(list(nodes), "g", [images], [logits])
    content: bytes = helper.make_model(graph).SerializeToString()
    return content


def test_heads_of_several_kinds() -> None:
    product = helper.make_node("MatMul", ["features", "w"], ["product"])
    features = helper.make_node("Relu", ["images"], ["features"])
    plus = helper.make_node("Add", ["b", "product"], ["sum"])
    cast = helper.make_node("Cast", ["sum"], ["logits"], to=1)
    assert penultimate(read_nodes(build(features, product, plus, cast))) == "features"
    with pytest.raises(ModelError, match=r"no Gemm or MatMul makes its logits \(found: Relu\)"):
        penultimate(read_nodes(build(helper.make_node("Relu", ["images"], ["logits"]))))
    circle = helper.make_node("Cast", ["x"], ["logits"]), helper.make_node("Cast", ["logits"], ["x"])
    with pytest.raises(ModelError, match="found: Cast, Cast"):  # which no exporter writes
        penultimate(read_nodes(build(*circle)))


@CANDIDATES
def test_the_intermediate_layer_is_the_mean_of_the_maps_before_the_last_downsampling(
    bundle: Bundle, test_split: Split, candidate: Candidate
) -> None:
    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos[:5]])
    network = load_network(bundle).eval()
    maps: list[torch.Tensor] = []
    network.get_submodule("layer3").register_forward_hook(lambda module, inputs, output: maps.append(output))
    with torch.inference_mode():
        WithPreprocessing(network, bundle.manifest.contract)(torch.from_numpy(images))
    expected = maps[0].mean(dim=(2, 3)).numpy()
    given = open_candidate(bundle, candidate, embeddings=True).answers(images)
    assert given.intermediate is not None
    assert given.parts == (EMBEDDING, expected.shape[1])
    difference = np.abs(given.intermediate - expected).max()
    assert difference < TOLERANCES[candidate.variant] * np.abs(expected).max()
    assert np.array_equal(given.features(given.parts), np.concatenate([given.embeddings, given.intermediate], axis=1))
    assert given.features(given.parts[:1]) is given.embeddings
    with pytest.raises(
        ModelError, match=r"model: gives 96 \+ 192 features, but trust\.json knows 96 \+ 65; repeat vegrt trust"
    ):
        given.features((EMBEDDING, 65))
    with pytest.raises(ModelError, match=r"gives no features, but trust\.json knows 96;"):
        Answers(given.logits).features((EMBEDDING,))


def test_strides_are_read_packed_or_not() -> None:
    for strides in (field(8, bytes([2, 3])), number_field(8, 2) + number_field(8, 3)):
        node = field(1, b"x") + field(2, b"y") + field(4, b"Conv") + field(5, field(1, b"strides") + strides)
        assert [each.strides for each in read_nodes(field(7, field(1, node)))] == [(2, 3)]


def test_an_mnn_file_has_what_its_names_say() -> None:
    content = b"\x04\0\0\0view\0...\x07\0\0\0relu_12\0"
    assert kept_tensors(content, InnerTensors("view", "relu_12")) == InnerTensors("view", "relu_12")
    assert kept_tensors(content, InnerTensors("view", "relu_1")) == InnerTensors("view")  # another one begins so
    assert kept_tensors(content, InnerTensors("vie")) is None
    assert kept_tensors(content, InnerTensors("iew", "relu_12")) is None


def conv(source: str, target: str, stride: int = 1) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, f"{target}.weight"], [target], strides=[stride, stride])


def pool(source: str, target: str, kind: str = "MaxPool") -> onnx.NodeProto:
    return helper.make_node(kind, [source], [target], kernel_shape=[2, 2], strides=[2, 2])


@pytest.mark.parametrize(
    ("nodes", "maps"),
    [
        ([conv("images", "a", 2), conv("a", "b"), conv("b", "c", 2), conv("c", "d")], "b"),
        ([conv("images", "a"), pool("a", "b"), conv("b", "c"), pool("c", "d")], "a"),  # the last pool ends the network
        ([conv("images", "a"), pool("a", "b", "AveragePool"), conv("b", "c")], "a"),
        ([conv("images", "a", 2), conv("a", "b", 2)], "a"),  # nothing follows it, but it is a convolution itself
        ([conv("images", "a", 16), helper.make_node("Relu", ["a"], ["b"])], ""),  # patches, as of a vision transformer
        ([pool("images", "a"), conv("a", "b")], ""),  # the image, made smaller
        ([conv("images", "a"), conv("a", "b")], ""),
        ([helper.make_node("Relu", ["images"], ["a"])], ""),
    ],
)
def test_networks_of_several_kinds(nodes: list[onnx.NodeProto], maps: str) -> None:
    model = build(*nodes, helper.make_node("Gemm", [nodes[-1].output[0], "w"], ["logits"]))
    assert inner_tensors(model) == InnerTensors(nodes[-1].output[0], maps)
    assert last_downsampled(read_nodes(model)) == maps


def test_bytes_are_read_as_onnx_reads_them(bundle: Bundle) -> None:
    content = bundle.file("model", "int8").read_bytes()
    nodes = onnx.load_from_string(content).graph.node
    assert [(node.kind, node.inputs, node.outputs) for node in read_nodes(content)] == [
        (node.op_type, tuple(node.input), tuple(node.output)) for node in nodes
    ]
    assert [node.strides for node in read_nodes(content)] == [
        tuple(next((attribute.ints for attribute in node.attribute if attribute.name == "strides"), ()))
        for node in nodes
    ]
    more = onnx.load_from_string(with_outputs(content, InnerTensors("x" * 300)))
    assert [value.name for value in more.graph.output] == ["logits", "x" * 300]
    more = onnx.load_from_string(with_outputs(content, InnerTensors("x", "maps")))
    assert [value.name for value in more.graph.output] == ["logits", "x", INTERMEDIATE]
    assert more.graph.node[-1] == helper.make_node("GlobalAveragePool", ["maps"], [INTERMEDIATE])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 255))
def test_any_bytes_are_a_model_error_or_an_answer(content: bytes, place: int, value: int) -> None:
    whole = bytearray(build(helper.make_node("Gemm", ["features", "w"], ["logits"])))
    whole[place % len(whole)] = value
    for each in (content, bytes(whole), bytes(whole[:place])):
        try:
            assert isinstance(inner_tensors(each).embedding, str)
        except ModelError:
            continue
