"""The parity gate sees what breaks a graph, and names the photo and the layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from vegrt.bundle import Bundle
from vegrt.dataset import Split
from vegrt.errors import ModelError
from vegrt.export.diverge import first_divergence, layer_outputs
from vegrt.export.gate import FP16, FP32, Evidence, Limits, check_parity, load_evidence
from vegrt.infer.oracle import TorchRunner
from vegrt.infer.ort import open_onnxruntime
from vegrt.infer.parity import measure_parity


@pytest.fixture(scope="module")
def evidence(bundle: Bundle, test_split: Split) -> Evidence:
    return load_evidence(bundle, list(test_split.photos), 32)


def scale_one_weight(graph: onnx.GraphProto) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == "layer2.1.conv1.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[0, 0, 1, 1] += 5
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def swap_two_layers(graph: onnx.GraphProto) -> None:
    first, second = (next(n for n in graph.node if n.name == f"layer3.1.conv{i}") for i in (1, 2))
    first.input[1], second.input[1] = second.input[1], first.input[1]


def drop_an_activation(graph: onnx.GraphProto) -> None:
    source = next(node for node in graph.node if node.op_type == "Relu" and node.input[0] == "layer1.0.conv1")
    next(node for node in graph.node if node.name == "layer1.0.conv2").input[0] = source.input[0]


def swap_classes(graph: onnx.GraphProto) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == "fc.weight")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[::-1].copy(), tensor.name))


def blank(graph: onnx.GraphProto) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == "conv1.weight")
    tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, np.nan, np.float32), tensor.name))


@pytest.mark.parametrize(
    ("sabotage", "layer"),
    [
        (scale_one_weight, "layer2.1.conv1"),
        (swap_two_layers, "layer3.1.conv1"),
        (drop_an_activation, "layer1.0.conv2"),
        (swap_classes, "fc"),
        (blank, "conv1"),
    ],
)
def test_a_broken_graph_is_refused_with_photo_and_layer(
    evidence: Evidence, sabotage: Callable[[onnx.GraphProto], None], layer: str
) -> None:
    model = onnx.load(evidence.bundle.file("model", "fp32"))
    sabotage(model.graph)
    source = model.SerializeToString()
    parity = evidence.measure(TorchRunner(evidence.bundle), open_onnxruntime(source))
    with pytest.raises(ModelError) as refused:
        check_parity("fp32.onnx", parity, FP32, evidence, source)
    line = str(refused.value)
    assert f"first diverging layer {layer}, by" in line
    assert str(evidence.photos[parity.worst].path) in line
    assert line.endswith("nothing was written")


def test_a_true_graph_passes_at_every_batch_size(evidence: Evidence) -> None:
    sizes: list[int] = []
    runner = open_onnxruntime(evidence.bundle.file("model", "fp32"))

    class Counting:
        runtime = runner.runtime
        device: str = "cpu"

        def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            sizes.append(len(images))
            return runner.logits(images)

    parity = evidence.measure(TorchRunner(evidence.bundle), Counting())
    assert {1, 2, 7, 32} <= set(sizes)
    assert (parity.images, parity.top1_agreement) == (60, 1.0)
    check_parity("fp32.onnx", parity, FP32, evidence, b"")


def test_too_few_photos_for_the_largest_batch_are_repeated(bundle: Bundle, test_split: Split) -> None:
    few = load_evidence(bundle, list(test_split.photos[:5]), 8)
    runner = open_onnxruntime(bundle.file("model", "fp32"))
    parity = few.measure(runner, runner)
    assert (parity.images, parity.max_abs_error, parity.top1_agreement) == (5, 0.0, 1.0)
    assert 0 <= parity.worst < 5


def test_the_worst_image_is_the_one_that_differs(evidence: Evidence) -> None:
    runner = open_onnxruntime(evidence.bundle.file("model", "fp32"))

    class OneOff:
        runtime = runner.runtime
        device: str = "cpu"

        def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            result = runner.logits(images)
            result[(images == evidence.images[17]).all(axis=(1, 2, 3))] *= -1
            return result

    assert measure_parity(runner, OneOff(), [evidence.images]).worst == 17


def test_float16_is_within_its_own_limits_and_not_within_those_of_float32(evidence: Evidence) -> None:
    file = evidence.bundle.file("model", "fp16")
    parity = evidence.measure(TorchRunner(evidence.bundle), open_onnxruntime(file, float16=True))
    check_parity("fp16.onnx", parity, FP16, evidence, file.read_bytes())
    with pytest.raises(ModelError, match=r"no layer diverges by 0\.01 of its norm, the furthest is "):
        check_parity("fp16.onnx", parity, Limits(0.9999999999, 1.0, 1e-6, 1e-2), evidence, file.read_bytes())


def test_layers_are_read_behind_their_normalisation(bundle: Bundle, evidence: Evidence) -> None:
    outputs = layer_outputs(bundle, evidence.images[0])
    assert len(outputs) == 21
    assert np.allclose(outputs["fc"], TorchRunner(bundle).logits(evidence.images[:1]))
    source = Path(bundle.file("model", "fp32")).read_bytes()
    assert "no layer diverges" in first_divergence(bundle, source, evidence.images[0], 1e-3)
