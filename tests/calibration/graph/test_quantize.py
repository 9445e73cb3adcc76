"""Placement and encoding on real graphs, compared with ONNX Runtime and numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.graph.encode import Range, insert_qdq, quantize_weights
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.calibration.graph.placement import plan_quantization, quantizable_nodes
from vegrt.calibration.graph.quantize import quantize_graph
from vegrt.calibration.pixels import PhotoSet, PixelStore
from vegrt.calibration.settings import CalibrationSettings
from vegrt.calibration.subject import split_photos
from vegrt.calibration.tournament.calibrate import calibrate
from vegrt.calibration.tournament.scorer import Scorer, mean_kl_divergence
from vegrt.dataset.photos import Split
from vegrt.errors import ModelError
from vegrt.infer.runtimes.candidates import is_float16
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.photo.preprocess import load_image

BLOCKS, CONVOLUTIONS = 4, 15  # of the small network


@pytest.fixture
def fresh(bundle: Bundle) -> Callable[[], ir.Model]:
    return lambda: ir.load(bundle.file("model", "fp32"))


def test_tensorrts_placement_follows_its_rules(fresh: Callable[[], ir.Model]) -> None:
    model = fresh()
    placement = plan_quantization(model, "signed")
    nodes = {node.name: node for node in model.graph}
    read = {(edge.node, edge.index) for edges in placement.activations.values() for edge in edges}
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    assert len(convolutions) == CONVOLUTIONS
    assert {(node.name, 0) for node in convolutions} <= read
    residual = [node for node in model.graph if node.op_type == "Add" and node.name in {name for name, _ in read}]
    assert len(residual) == BLOCKS  # one per block, and of its two inputs only the skip connection
    assert all(sum((node.name, index) in read for index in (0, 1)) == 1 for node in residual)
    assert "fc" in nodes
    assert ("fc", 0) not in read  # the classifier stays in float
    assert "fc.weight" not in placement.weights
    assert not any(name.endswith("conv1") for name in placement.activations)  # nothing between a Conv and its Relu


def test_the_cpu_placement_quantizes_both_inputs_of_an_add(fresh: Callable[[], ir.Model]) -> None:
    model = fresh()
    read = {(e.node, e.index) for edges in plan_quantization(model, "unsigned").activations.values() for e in edges}
    adds = [n.name for n in model.graph if n.op_type == "Add" and not any(v and v.is_initializer() for v in n.inputs)]
    assert len(adds) == BLOCKS
    assert all((name, 0) in read and (name, 1) in read for name in adds)


def test_a_pooling_has_one_range_and_keeps_onnx_runtime_in_8_bits(
    fresh: Callable[[], ir.Model], tmp_path: Path
) -> None:
    """Else ONNX Runtime pools in float, between two conversions of the largest tensors of the network."""
    model = fresh()
    positive = {value.name for node in model.graph if node.op_type in {"Relu", "MaxPool"} for value in node.outputs}
    tensors = plan_quantization(model, "unsigned").activations
    ranges = {name: Range(0.0 if name in positive else -1.0, 2.0 + index) for index, name in enumerate(tensors)}
    quantize_graph(model, "unsigned", ranges)
    source = serialize(model)
    graph = onnx.load_from_string(source).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}
    pools = [node for node in graph.node if node.op_type == "MaxPool"]
    assert len(pools) == 1
    before = producer[pools[0].input[0]]
    after = next(node for node in graph.node if pools[0].output[0] in node.input)
    assert (before.op_type, after.op_type) == ("DequantizeLinear", "QuantizeLinear")
    for index in (1, 2):
        assert stored[before.input[index]] == stored[after.input[index]]

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 4
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimized.onnx").graph.node
    counts = Counter(node.op_type for node in nodes)
    assert counts["QLinearConv"] == CONVOLUTIONS
    assert counts["DequantizeLinear"] == 1  # before the classifier
    assert counts["QuantizeLinear"] == 1  # of the image


def test_float_layers_stay_in_float(fresh: Callable[[], ir.Model]) -> None:
    model = fresh()
    name = next(quantizable_nodes(model)).name
    placement = plan_quantization(model, "signed", float_layers=frozenset({str(name)}))
    assert f"{name}.weight" not in placement.weights
    assert len(placement.weights) == CONVOLUTIONS - 1


def test_weights_round_to_the_nearest_step_of_their_channel() -> None:
    weights = np.random.default_rng(0).normal(size=(6, 3, 3, 3)).astype(np.float32)
    weights[2] = 0
    for levels in (127, 64):
        quantized, scales = quantize_weights(weights, 0, levels)
        assert np.abs(quantized).max() == levels
        restored = quantized * scales.reshape(-1, 1, 1, 1)
        assert (np.abs(restored - weights) <= scales.reshape(-1, 1, 1, 1) / 2 * 1.0001).all()
    assert not quantized[2].any()
    assert scales[2] > 0


def test_scales_and_zero_points_follow_each_encodings_rules(bundle: Bundle) -> None:
    for variant, kind in (("int8", np.int8), ("int8-cpu", np.uint8)):
        graph = onnx.load(bundle.file("model", variant)).graph
        stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        activations = [node for node in graph.node if node.op_type == "QuantizeLinear"]
        assert activations
        for node in activations:
            scale, zero_point = stored[node.input[1]], stored[node.input[2]]
            assert scale.shape == zero_point.shape == ()
            assert scale > 0
            assert zero_point.dtype == kind
            assert kind is np.uint8 or zero_point == 0
        weights = [name for name in stored if name.endswith(".weight.q")]
        assert len(weights) == CONVOLUTIONS
        assert max(int(np.abs(stored[name].astype(int)).max()) for name in weights) == (127 if kind is np.int8 else 64)


def test_a_missing_or_impossible_range_names_the_tensor(fresh: Callable[[], ir.Model]) -> None:
    model = fresh()
    with pytest.raises(ModelError, match="no calibrated range"):
        insert_qdq(model, plan_quantization(model, "signed"), {}, "signed")
    bad = {name: Range(float("nan"), 1.0) for name in plan_quantization(model, "signed").activations}
    with pytest.raises(ModelError, match=r"calibrated range \[nan"):
        insert_qdq(fresh(), plan_quantization(model, "signed"), bad, "signed")


def test_the_tournament_rescues_a_model_whose_peak_is_an_outlier(
    fresh: Callable[[], ir.Model], bundle: Bundle, test_split: Split
) -> None:
    """One pixel value in a thousand photos must not set the scale: the winner agrees at least as often as minmax."""
    observed, held_out = split_photos(
        PhotoSet(test_split.photos, PixelStore(bundle.manifest.contract)), CalibrationSettings()
    )
    result = calibrate(fresh(), observed, Scorer(fresh(), held_out))
    for encoding, winner in result.winners.items():
        rows = {row.method: row for row in result.tournament if row.encoding == encoding}
        assert rows[winner].score.agreement == max(row.score.agreement for row in rows.values())
        assert rows[winner].score.agreement >= 0.9
        assert set(result.winning_ranges(encoding)) == set(result.extrema)


def test_quantized_models_do_not_depend_on_batch_size_or_order(bundle: Bundle, test_split: Split) -> None:
    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos[:33]])
    for variant in ("int8", "int8-cpu"):
        runner = open_onnxruntime(bundle.file("model", variant), float16=is_float16(bundle, variant))
        whole = runner.logits(images)
        parts = np.concatenate([runner.logits(images[i : i + 7]) for i in range(0, 33, 7)])
        singly = np.concatenate([runner.logits(image[None]) for image in images])
        backwards = runner.logits(np.ascontiguousarray(images[::-1]))[::-1]
        assert max(_apart(whole, logits) for logits in (parts, singly, backwards)) < 0.02


def test_divergence_is_zero_for_equal_and_positive_for_other_logits() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    assert mean_kl_divergence(logits, logits + 3) == pytest.approx(0, abs=1e-6)  # softmax ignores a shift
    assert mean_kl_divergence(logits, -logits) > 0.1


def _apart(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(np.abs(first - second).max())
