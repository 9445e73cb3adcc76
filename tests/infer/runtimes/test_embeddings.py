from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import ModelError, VegrtError
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.onnx_file import penultimate, read_nodes, with_output
from vegrt.infer.runtimes.open import open_candidate
from vegrt.photo.preprocess import load_image

EMBEDDING = 96  # numbers per embedding of the small network


@pytest.mark.parametrize(
    "candidate",
    [
        *(Candidate(variant, "onnxruntime") for variant in ("fp32", "fp16", "int8-cpu")),
        *(Candidate(variant, "openvino") for variant in ("fp32", "int8")),
    ],
    ids=str,
)
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
        variant == "fp32" and candidate.runtime == "onnxruntime"
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
    assert penultimate(build(features, product, plus, cast)) == "features"
    with pytest.raises(ModelError, match=r"no Gemm or MatMul makes its logits \(found: Relu\)"):
        penultimate(build(helper.make_node("Relu", ["images"], ["logits"])))
    with pytest.raises(ModelError, match="found: Cast, Cast"):  # a circle, which no exporter writes
        penultimate(build(helper.make_node("Cast", ["x"], ["logits"]), helper.make_node("Cast", ["logits"], ["x"])))


def test_bytes_are_read_as_onnx_reads_them(bundle: Bundle) -> None:
    content = bundle.file("model", "int8").read_bytes()
    nodes = onnx.load_from_string(content).graph.node
    assert [(node.kind, node.inputs, node.outputs) for node in read_nodes(content)] == [
        (node.op_type, tuple(node.input), tuple(node.output)) for node in nodes
    ]
    more = onnx.load_from_string(with_output(content, "x" * 300))
    assert [value.name for value in more.graph.output] == ["logits", "x" * 300]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 255))
def test_any_bytes_are_a_model_error_or_an_answer(content: bytes, place: int, value: int) -> None:
    whole = bytearray(build(helper.make_node("Gemm", ["features", "w"], ["logits"])))
    whole[place % len(whole)] = value
    for each in (content, bytes(whole), bytes(whole[:place])):
        try:
            assert isinstance(penultimate(each), str)
        except ModelError:
            continue
