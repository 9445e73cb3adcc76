"""Every sabotage is noticed, and the message names what was done. All of it comes with hashes that fit."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.command_line import answer
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Manifest
from vegrt.dataset.photos import Split, read_split
from vegrt.errors import BundleError, DataError, ModelError
from vegrt.evaluate.diagnose import no_better_than_chance, permuted_classes
from vegrt.evaluate.evaluate import evaluate
from vegrt.evaluate.verify import verify
from vegrt.evaluate.wording import cause_words
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.onnx_file import read_metadata
from vegrt.photo.contract import IMAGENET_MEAN, IMAGENET_STD, Contract
from vegrt.results.evaluation import ColoursSwapped

FP32, INT8 = Candidate("fp32", "onnxruntime"), Candidate("int8-cpu", "onnxruntime")
SWAPPED = ("Cress", "Beet", "Eggplant")


def rewritten(bundle: Bundle, variant: str, change: Callable[[onnx.ModelProto], None]) -> Bundle:
    """Change one model of the bundle and its entry in the manifest."""
    artifact = bundle.artifact("model", variant)
    model = onnx.load(bundle.path / artifact.path)
    change(model)
    with changing(bundle.path) as staging:
        onnx.save(model, staging.file(artifact.path))
        staging.add(artifact.path, "model", variant, artifact.details)
        staging.finish(bundle.manifest)
    return open_bundle(bundle.path)


def restated(bundle: Bundle, classes: tuple[str, ...] | None = None, contract: Contract | None = None) -> Bundle:
    """Change what the manifest says and nothing else."""
    manifest: Manifest = replace(
        bundle.manifest, classes=classes or bundle.manifest.classes, contract=contract or bundle.manifest.contract
    )
    with changing(bundle.path) as staging:
        staging.finish(manifest)
    return open_bundle(bundle.path)


def quadruple_scales(model: onnx.ModelProto, layers: int = 2) -> None:
    """Multiply by four the weight scales of the first convolutions."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in stored]
    for node in pairs[:layers]:
        scale = stored[node.input[1]]
        scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * 4, scale.name))


def take_bgr(model: onnx.ModelProto) -> None:
    """Have the graph read its three channels in the opposite order: it becomes a model for BGR input."""
    cast = model.graph.node[0]
    assert (cast.op_type, cast.input[0]) == ("Cast", "images")
    inside = cast.output[0]
    for node in model.graph.node[1:]:
        node.input[:] = ["rgb" if name == inside else name for name in node.input]
    order = numpy_helper.from_array(np.array([2, 1, 0], np.int64), "bgr_order")
    model.graph.initializer.append(order)
    model.graph.node.insert(1, onnx.helper.make_node("Gather", [inside, "bgr_order"], ["rgb"], axis=3))


def state(key: str, value: object) -> Callable[[onnx.ModelProto], None]:
    """Return a change that rewrites one fact in a model's metadata."""

    def change(model: onnx.ModelProto) -> None:
        for entry in model.metadata_props:
            if entry.key == f"vegrt.{key}":
                entry.value = json.dumps(value)

    return change


def reorder_classes(model: onnx.ModelProto) -> None:
    """Have the graph give the first two logits in each other's place."""
    for node in model.graph.node:
        node.output[:] = ["ordered" if name == "logits" else name for name in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 0, 2], np.int64), "class_order"))
    model.graph.node.append(onnx.helper.make_node("Gather", ["ordered", "class_order"], ["logits"], axis=1))


def shuffled(photos: Path, root: Path, seed: int = 0) -> Path:
    """Copy the test split with every photo in a folder drawn at random."""
    random = np.random.default_rng(seed)
    files = sorted((photos / "test").glob("*/*.jpg"))
    labels = random.permutation([file.parent.name for file in files])
    for number, (file, label) in enumerate(zip(files, labels, strict=True)):
        (root / "test" / label).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, root / "test" / label / f"{number:03d}.jpg")
    return root


def failed_checks(bundle: Bundle) -> dict[str, str]:
    return {check.subject: check.detail for check in verify(bundle) if check.status == "FAIL"}


def test_quadrupled_scales_of_two_layers_fail_the_gate(copied: Bundle, photos: Path) -> None:
    bad = rewritten(copied, "int8-cpu", quadruple_scales)
    body = answer("evaluate", bad.path, "--data", photos, "--runtime", "onnxruntime", exit_code=3)
    verdicts = {row["key"]: row["gate"]["verdict"] for row in body["candidates"]}
    assert [key for key, verdict in verdicts.items() if verdict == "FAIL"] == ["int8-cpu/onnxruntime"]
    assert "int8-cpu/onnxruntime" in failed_checks(bad)


def test_a_graph_for_bgr_is_named(copied: Bundle, test_split: Split) -> None:
    bad = rewritten(copied, "fp32", take_bgr)
    with pytest.raises(ModelError, match="with red and blue swapped; it looks like a model for BGR input"):
        evaluate(bad, test_split, [FP32], margin=0.5)
    failures = failed_checks(bad)
    assert failures.keys() - {"bf16/openvino"} == {"fp32/onnxruntime", "fp32/openvino"}  # bf16: on CPUs that have it
    assert all(
        "they match when red and blue are swapped: it looks like BGR input" in detail for detail in failures.values()
    )


def test_one_candidate_for_bgr_fails_the_gate_with_the_cause(copied: Bundle, test_split: Split) -> None:
    bad = rewritten(copied, "int8-cpu", take_bgr)
    reference, candidate = evaluate(bad, test_split, [FP32, INT8], margin=0.5).candidates
    assert reference.gate.verdict == "REFERENCE"
    assert candidate.gate.verdict == "FAIL"
    cause = next(cause for cause in candidate.gate.causes if isinstance(cause, ColoursSwapped))
    assert cause.right < 0.5 < cause.right_swapped
    assert "it looks like BGR input" in cause_words(cause, bad.manifest.classes)


def test_a_contract_with_reversed_means_is_named(copied: Bundle, test_split: Split) -> None:
    stated = replace(copied.manifest.contract, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    for variant in copied.variants():
        copied = rewritten(copied, variant, state("contract", stated.to_dict()))
    bad = restated(copied, contract=replace(stated, mean=IMAGENET_MEAN[::-1], std=IMAGENET_STD[::-1]))
    assert "red and blue are swapped, it looks like BGR" in failed_checks(bad)["classes and contract"]
    with pytest.raises(BundleError, match=r"contract differs.*BGR"):
        evaluate(bad, test_split, [FP32], margin=0.5)


def test_a_swapped_class_order_is_named(copied: Bundle, photos: Path) -> None:
    bad = restated(copied, classes=SWAPPED)
    message = "class order differs between manifest and fp32.onnx: Beet is called Cress, Cress is called Beet"
    assert message in failed_checks(bad)["classes and contract"]
    with pytest.raises(BundleError, match=message):
        evaluate(bad, read_split(photos, "test", SWAPPED), [FP32], margin=0.5)


def test_a_class_order_that_models_and_manifest_swap_alike_is_named(copied: Bundle, photos: Path) -> None:
    bad = restated(copied, classes=SWAPPED)
    for variant in bad.variants():
        bad = rewritten(bad, variant, state("classes", SWAPPED))
    assert not failed_checks(bad)  # nothing in the bundle contradicts it: only the photos can
    with pytest.raises(DataError, match="labels look permuted: Cress is predicted as Beet, Beet is predicted as Cress"):
        evaluate(bad, read_split(photos, "test", SWAPPED), [FP32], margin=0.5)


def test_a_graph_with_another_class_order_is_named(copied: Bundle) -> None:
    failures = failed_checks(rewritten(copied, "int8-cpu", reorder_classes))
    assert (
        "another class order: Beet is predicted as Cress, Cress is predicted as Beet"
        in failures["int8-cpu/onnxruntime"]
    )


def test_shuffled_labels_are_named(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels look shuffled: top-1 .* no better than chance"):
        evaluate(bundle, read_split(shuffled(photos, tmp_path), "test"), [FP32], margin=0.5)


def test_half_shuffled_labels_are_a_warning(
    bundle: Bundle, test_split: Split, caplog: pytest.LogCaptureFixture
) -> None:
    """Forty per cent of the photos of each class are called something else: too many right answers for chance."""
    moved = [
        replace(photo, label=(photo.label + 1 + index % 2) % 3) if index % 5 < 2 else photo
        for index, photo in enumerate(test_split.photos)
    ]
    with caplog.at_level(logging.WARNING):
        result = evaluate(bundle, replace(test_split, photos=tuple(moved)), [FP32], margin=0.5)
    assert 0.5 < result.candidates[0].top1.value < 0.65
    assert "check for wrong labels" in caplog.text


def test_an_honest_evaluation_says_nothing(bundle: Bundle, test_split: Split, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate(bundle, test_split, [FP32], margin=0.5)
    assert not caplog.text


def test_only_a_permutation_is_one() -> None:
    identity = np.diag([50] * 15)
    assert permuted_classes(identity) == {}
    swapped = identity[[1, 0, *range(2, 15)]]
    assert permuted_classes(swapped) == {0: 1, 1: 0}
    cycle = np.roll(identity, 1, axis=1)
    assert permuted_classes(cycle) == {label: (label + 1) % 15 for label in range(15)}
    confused = identity.copy()
    confused[3] = 0
    confused[3, 4] = 50  # one class is taken for another, which keeps its own: a weak model, no permutation
    assert permuted_classes(confused) == {}
    assert permuted_classes(np.array([[0, 1], [1, 0]])) == {}  # two photos prove nothing


def test_chance_is_what_the_totals_give() -> None:
    constant = np.zeros((3, 3), int)
    constant[:, 0] = 30  # always the same answer: right for a third, knows nothing
    assert no_better_than_chance(constant)
    assert not no_better_than_chance(np.diag([30, 30, 30]))


def test_metadata_is_what_onnx_reads(bundle: Bundle, tmp_path: Path) -> None:
    for variant in bundle.variants():
        file = bundle.file("model", variant)
        expected = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
        assert read_metadata(file) == expected
        assert json.loads(expected["vegrt.classes"]) == list(bundle.manifest.classes)
    for name, content in {"text": b"no model at all", "cut": bundle.file("model", "fp32").read_bytes()[:-5000]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="not an ONNX file"):
            read_metadata(tmp_path / name)
