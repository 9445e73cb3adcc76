from __future__ import annotations

import json
import logging
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from tests.result_files import inline
from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split, read_split
from vegrt.errors import DataError
from vegrt.evaluate import predictions
from vegrt.evaluate.benchmark.bench import bench
from vegrt.evaluate.benchmark.setup import Conditions
from vegrt.evaluate.evaluate import candidates_to_evaluate, evaluate, evaluate_logits
from vegrt.evaluate.figures import calibration_error
from vegrt.evaluate.paired import Margin, compare_top1, gate
from vegrt.evaluate.selection import Selection
from vegrt.evaluate.wording import gate_reason
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.choice import choose
from vegrt.infer.runtimes.logits import softmax
from vegrt.infer.runtimes.torch import TorchRunner
from vegrt.photo.preprocess import load_image
from vegrt.results.benchmark import Bench
from vegrt.results.common import Interval
from vegrt.results.convert import to_dict
from vegrt.results.evaluation import Evaluation, Figures
from vegrt.results.files import load_result, save_result

CHOSEN = [Candidate("fp32", "onnxruntime"), Candidate("int8-cpu", "onnxruntime"), Candidate("fp32", "torch")]


def test_an_evaluation_counts_what_torch_counts(bundle: Bundle, test_split: Split) -> None:
    evaluation = evaluate(bundle, test_split, CHOSEN, margin=0.5)
    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])
    labels = np.array([photo.label for photo in test_split.photos])
    want = TorchRunner(bundle).logits(images)
    reference, quantized, oracle = evaluation.candidates
    assert reference.gate.verdict == "REFERENCE"
    assert oracle.top1.value == pytest.approx((want.argmax(axis=1) == labels).mean())
    assert oracle.top3
    assert oracle.top3.value == 1.0  # of three classes
    probabilities = softmax(want)
    assert isinstance(oracle.nll, Interval)
    assert oracle.nll.value == pytest.approx(-np.log(probabilities[np.arange(60), labels]).mean(), abs=1e-4)
    confusion = np.array(oracle.confusion)
    assert confusion.sum(axis=1).tolist() == [20, 20, 20]
    assert np.trace(confusion) / 60 == pytest.approx(oracle.top1.value)
    answers = inline(evaluation).candidates
    first, second = (np.array(answers[row.key].top1) for row in (reference, quantized))
    assert quantized.paired.flips == int((first != second).sum())
    assert inline(evaluation).paths[0] == "Beet/000.jpg"


def test_every_figure_is_given_again_without_leaked_photos(bundle: Bundle, test_split: Split) -> None:
    leaked = [test_split.relative(photo) for photo in test_split.photos[:15]]
    whole = evaluate(bundle, test_split, CHOSEN, margin=0.5, leaked=leaked)
    clean = replace(test_split, photos=test_split.photos[15:])
    alone = evaluate(bundle, clean, CHOSEN, margin=0.5)
    assert (whole.leaked, whole.images, alone.leaked) == (15, 60, None)
    for row, same in zip(whole.candidates, alone.candidates, strict=True):
        assert row.without_leaks == Figures(**{field.name: getattr(same, field.name) for field in fields(Figures)})
    everything = evaluate(
        bundle, test_split, CHOSEN, margin=0.5, leaked=set(map(test_split.relative, test_split.photos))
    )
    assert everything.candidates[0].without_leaks is None
    assert "without_leaks" not in to_dict(everything)["candidates"][0]


def test_the_checkpoint_is_a_row_and_never_the_choice(copied: Bundle, test_split: Split) -> None:
    chosen = candidates_to_evaluate(copied)
    assert chosen[-1] == Candidate("fp32", "torch")
    assert Candidate("fp32", "torch") not in candidates_to_evaluate(copied, torch=False)
    assert Candidate("fp32", "torch") not in candidates_to_evaluate(copied, Selection("openvino"))
    evaluation = evaluate(copied, test_split, [chosen[0], chosen[-1]], margin=30)
    oracle = evaluation.candidates[1]
    assert oracle.gate.verdict == "PASS"
    assert gate_reason(evaluation, oracle).startswith("from the checkpoint to the reference: drop")
    save_result(copied, "evaluate-test", evaluation)
    assert str(choose(copied).candidate) == "fp32/onnxruntime"


def test_the_conversion_is_judged_from_the_checkpoint_to_the_graph(bundle: Bundle, test_split: Split) -> None:
    """The checkpoint is right where the graph is wrong: its own drop is negative, and it is the graph that fails."""
    labels = np.array([photo.label for photo in test_split.photos])
    right = np.eye(3, dtype=np.float32)[labels]
    wrong = np.where(np.arange(60)[:, None] < 30, np.roll(right, 1, axis=1), right)
    evaluation = evaluate_logits(bundle, test_split, [*range(60)], {CHOSEN[0]: wrong, CHOSEN[2]: right}, margin=0.5)
    oracle = evaluation.candidates[1]
    assert oracle.paired.drop.value == -0.5
    assert oracle.gate.verdict == "FAIL"
    assert oracle.gate.judged_drop is not None
    assert oracle.gate.judged_drop.value == 0.5
    assert "drop +50.00 points" in gate_reason(evaluation, oracle)


def test_every_photo_is_in_the_parquet_table(bundle: Bundle, test_split: Split, tmp_path: Path) -> None:
    evaluation = evaluate(
        bundle, test_split, CHOSEN[:2], margin=0.5, table=tmp_path / "results/predictions-test.parquet"
    )
    table = pyarrow.parquet.read_table(tmp_path / "results/predictions-test.parquet")
    predicted = inline(evaluation)
    assert table["path"].to_pylist() == list(predicted.paths)
    assert table["label"].to_pylist() == list(predicted.labels)
    assert json.loads(table.schema.metadata[b"vegrt.classes"]) == list(evaluation.classes)
    for key, answers in predicted.candidates.items():
        assert table[f"{key}/top1"].to_pylist() == list(answers.top1)
        assert answers.margin is not None
        assert answers.probability is not None
        np.testing.assert_allclose(table[f"{key}/margin"], answers.margin, atol=1e-6)
        logits = np.array(table[f"{key}/logits"].to_pylist(), np.float32)
        np.testing.assert_allclose(softmax(logits).max(axis=1), answers.probability, atol=1e-6)
    assert str(table.schema.field("int8-cpu/onnxruntime/logits").type) == "list<element: float>"


def test_without_pyarrow_the_log_says_how_to_get_the_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "find_spec", lambda name: None)
    with caplog.at_level(logging.INFO):
        assert not predictions.write_table(tmp_path / "x.parquet", [], {}, {}, [])
    assert "vegrt[parquet]" in caplog.text
    assert not list(tmp_path.iterdir())


def test_unreadable_photos_are_listed_and_left_out(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "data")
    (tmp_path / "data/test/Beet/000.jpg").write_text("a text file")
    evaluation = evaluate(bundle, read_split(tmp_path / "data", "test"), CHOSEN[:1], margin=0.5)
    assert evaluation.images == 59
    assert len(evaluation.unreadable) == 1
    assert "000.jpg: not a photo" in evaluation.unreadable[0]
    assert len(inline(evaluation).labels) == 59


def test_other_classes_are_refused(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "test", tmp_path / "test")
    (tmp_path / "test/Beet").rename(tmp_path / "test/Kale")
    with pytest.raises(DataError, match=r"Kale.*was trained on Beet, Cress, Eggplant"):
        evaluate(bundle, read_split(tmp_path, "test"), CHOSEN[:1], margin=0.5)


def test_flips_are_counted_by_kind() -> None:
    labels = np.array([0, 0, 0, 0, 0, 1])
    reference = np.array([0, 0, 1, 1, 2, 1])
    candidate = np.array([0, 1, 0, 2, 2, 1])
    paired = compare_top1(reference, candidate, labels)
    assert (paired.flips, paired.newly_wrong, paired.newly_right, paired.wrong_to_other_wrong) == (3, 1, 1, 1)
    assert paired.agreement == 0.5
    assert paired.drop.value == 0.0


@pytest.mark.parametrize(("wrong", "verdict"), [(0, "PASS"), (3, "INCONCLUSIVE"), (60, "FAIL")])
def test_the_gate_decides_by_the_interval(wrong: int, verdict: str) -> None:
    labels = np.zeros(900, int)
    candidate = labels.copy()
    candidate[:wrong] = 1
    decided = gate(compare_top1(labels, candidate, labels), 900, Margin.of(0.5, 900))
    assert decided.verdict == verdict
    assert (decided.images_to_decide is not None) == (verdict == "INCONCLUSIVE")


def test_calibration_error_of_a_known_case() -> None:
    """Ten answers at 0.9 of which six are right, ten at 0.6 of which six are: (0.3 * 10 + 0 * 10) / 20."""
    confidence = np.array([0.9] * 10 + [0.6] * 10)
    right = np.array([True] * 6 + [False] * 4 + [True] * 6 + [False] * 4)
    assert calibration_error(confidence, right) == pytest.approx(0.15)


def test_results_come_back_until_the_artifacts_change(copied: Bundle) -> None:
    measured = bench(copied, CHOSEN[:2], rounds=2, batch_sizes=(1, 4), conditions=Conditions(limits=False))
    save_result(copied, "bench", measured)
    loaded = load_result(copied, Bench, "bench")
    assert loaded == measured
    assert loaded.schema == "vegrt-bench"
    assert loaded.bundle.sha256 == copied.sha256()
    assert [timing.batch for timing in loaded.candidates[0].batches] == [1, 4]
    timing = loaded.candidates[0].batches[1]
    assert timing.p90_ms is not None
    assert timing.p99_ms is not None
    assert 0 < timing.p50_ms <= timing.p90_ms <= timing.p99_ms
    assert timing.images_per_s == pytest.approx(4 / timing.p50_ms * 1000)
    assert load_result(copied, Evaluation, "evaluate-test") is None
    foreign = replace(loaded.candidates[0], artifact_sha256="other")
    save_result(copied, "bench", replace(loaded, candidates=(foreign,)))
    assert load_result(copied, Bench, "bench") is None
