"""The parity gate sees what breaks a graph, and names the photo and the layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from scipy import stats

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.pixels import PhotoSet, PixelStore
from vegrt.dataset.photos import Split
from vegrt.errors import ModelError
from vegrt.evaluate.diagnose import try_explain
from vegrt.export.onnx.divergence import first_divergence, layer_outputs
from vegrt.export.onnx.parity import FP16, FP32, Evidence, Limits, agrees, binomial_tail, check_parity, load_evidence
from vegrt.infer.runtimes.logits import Parity, compare_logits
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.torch import TorchRunner


@pytest.fixture(scope="module")
def evidence(bundle: Bundle, test_split: Split) -> Evidence:
    return load_evidence(bundle, PhotoSet(test_split.photos, PixelStore(bundle.manifest.contract)), 32)


def scale_one_weight(graph: onnx.GraphProto) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == "layer2.0.conv1.weight")
    array = numpy_helper.to_array(tensor).copy()
    array[0, 0, 1, 1] += 5
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def swap_two_layers(graph: onnx.GraphProto) -> None:
    first, second = (next(n for n in graph.node if n.name == f"layer1.0.conv{i}") for i in (1, 2))
    first.input[1], second.input[1] = second.input[1], first.input[1]


def drop_an_activation(graph: onnx.GraphProto) -> None:
    source = next(node for node in graph.node if node.op_type == "Relu" and node.input[0] == "layer1.0.conv1")
    next(node for node in graph.node if node.name == "layer1.0.conv2").input[0] = source.input[0]


def swap_classes(graph: onnx.GraphProto) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == "fc.weight")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[::-1].copy(), tensor.name))


def blank(graph: onnx.GraphProto) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == "conv1.0.weight")
    tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, np.nan, np.float32), tensor.name))


@pytest.mark.parametrize(
    ("sabotage", "layer"),
    [
        (scale_one_weight, "layer2.0.conv1"),
        (swap_two_layers, "layer1.0.conv1"),
        (drop_an_activation, "layer1.0.conv2"),
        (swap_classes, "fc"),
        (blank, "conv1.0"),
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


def test_a_correct_graph_passes_at_every_batch_size(evidence: Evidence) -> None:
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
    few = load_evidence(bundle, PhotoSet(test_split.photos[:5], PixelStore(bundle.manifest.contract)), 8)
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

    assert compare_logits(runner.logits(evidence.images), OneOff().logits(evidence.images)).worst == 17


def test_float16_is_within_its_own_limits_and_not_within_those_of_float32(evidence: Evidence) -> None:
    file = evidence.bundle.file("model", "fp16")
    parity = evidence.measure(TorchRunner(evidence.bundle), open_onnxruntime(file, float16=True))
    check_parity("fp16.onnx", parity, FP16, evidence, file.read_bytes())
    with pytest.raises(ModelError, match=r"no layer diverges by 0\.01 of its norm, the largest difference is "):
        check_parity("fp16.onnx", parity, Limits(0.9999999999, 1.0, 1e-6, 1e-2), evidence, file.read_bytes())


def test_layers_are_read_after_their_normalisation(bundle: Bundle, evidence: Evidence) -> None:
    outputs = layer_outputs(bundle, evidence.images[0])
    assert len(outputs) == 16
    assert np.allclose(outputs["fc"], TorchRunner(bundle).logits(evidence.images[:1]))
    source = Path(bundle.file("model", "fp32")).read_bytes()
    assert "no layer diverges" in first_divergence(bundle, source, evidence.images[0], 1e-3)


def parity_of(images: int, flips: int, widest: float) -> Parity:
    return Parity(images, 0.0, 1.0, 1 - flips / images, 1.0, 0, tuple(range(flips)), widest)


@pytest.mark.parametrize(
    ("limits", "images", "flips", "widest", "taken"),
    [
        (FP16, 36, 1, 0.04, True),  # a near tie: 35 of 36 does not refute 98 %
        (FP16, 36, 1, 0.06, False),  # one flip, and no tie
        (FP16, 36, 4, 0.04, False),  # ties, but more of them than 98 % explains
        (FP16, 200, 4, 0.06, True),  # 98 % is reached: nothing more is asked
        (FP16, 200, 7, 0.04, True),
        (FP16, 200, 9, 0.04, False),
        (FP32, 48, 1, 0.0009, True),
        (FP32, 48, 1, 0.0011, False),
        (FP32, 48, 3, 0.0009, False),
    ],
)
def test_a_near_tie_among_few_photos_passes(
    limits: Limits, images: int, flips: int, widest: float, taken: bool
) -> None:
    assert agrees(parity_of(images, flips, widest), limits) is taken


def test_the_binomial_tail_matches_the_exact_interval() -> None:
    """The tail is below 5 % exactly where the one-sided Clopper-Pearson bound is below the rate."""
    for total, rate in ((36, 0.98), (200, 0.95), (7, 0.99)):
        for successes in range(total):
            assert binomial_tail(successes, total, rate) == pytest.approx(stats.binom.cdf(successes, total, rate))
            bound = stats.beta.ppf(0.95, successes + 1, total - successes)
            assert (binomial_tail(successes, total, rate) < 0.05) == (bound < rate)


def test_a_photo_that_is_run_twice_counts_once(bundle: Bundle, test_split: Split) -> None:
    few = load_evidence(bundle, PhotoSet(test_split.photos[:5], PixelStore(bundle.manifest.contract)), 8)
    runner = open_onnxruntime(bundle.file("model", "fp32"))

    class OneOff:
        runtime = runner.runtime
        device: str = "cpu"

        def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            result = runner.logits(images)
            result[(images == few.images[2]).all(axis=(1, 2, 3))] *= -1
            return result

    parity = few.measure(runner, OneOff())
    assert (parity.flipped, parity.top1_agreement, parity.images) == ((2,), 0.8, 5)
    assert "flipped" not in parity.to_dict()


def test_an_explanation_that_fails_hides_nothing(evidence: Evidence) -> None:
    """The graph cannot be read for it; the bundle of an imported model has no torch network to compare with."""
    parity = parity_of(60, 30, 1.0)
    imported = replace(evidence.bundle.manifest, artifacts=())
    without = replace(evidence, bundle=replace(evidence.bundle, manifest=imported))
    for each in (evidence, without):
        with pytest.raises(
            ModelError, match=r"fp32\.onnx: cosine .* \(30 of 60 photos\); .*\.jpg; nothing was written$"
        ):
            check_parity("fp32.onnx", parity, FP32, each, b"no graph")
    assert try_explain(lambda: str(1 / 0)) is None
    assert try_explain(lambda: "because") == "because"
