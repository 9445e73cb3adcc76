from __future__ import annotations

import csv
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from tests.command_line import answer, call, failure
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.errors import BundleError, VegrtError
from vegrt.infer.api import load
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.logits import softmax
from vegrt.infer.runtimes.runner import Answers
from vegrt.infer.trust.judge import Judge, Judgement
from vegrt.infer.trust.store import load_trust, open_judge

FP32 = Candidate("fp32", "onnxruntime")
ONLY_FP32 = ("--variant", "fp32", "--runtime", "onnxruntime")


def test_each_format_holds_the_same_judgements(trusted: Bundle, photos: Path, tmp_path: Path) -> None:
    words = ("infer", photos / "test", "--bundle", trusted.path, *ONLY_FP32, "--reject")
    records = answer(*words)["predictions"]
    assert [*records[0]] == ["path", "label", "probability", "decision", "set", "foreign_score", "error"]
    assert {record["decision"] for record in records} <= {"accept", "unsure", "foreign"}
    assert sum(record["decision"] == "foreign" for record in records) < 12
    for name in ("rows.csv", "rows.jsonl", "rows.parquet"):
        assert call(*words, "-o", tmp_path / name).exit_code == 0
    with (tmp_path / "rows.csv").open() as file:
        cells = list(csv.DictReader(file))
    assert [json.loads(row["set"]) for row in cells] == [record["set"] for record in records]
    assert [row["decision"] for row in cells] == [record["decision"] for record in records]
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == records
    assert pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist() == records
    line = call(*words).stdout.splitlines()[0].split("\t")
    assert line[3] == records[0]["decision"]
    assert line[4] == "{" + ", ".join(records[0]["set"]) + "}"


def test_without_reject_the_columns_are_those_of_before(trusted: Bundle, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    assert call("infer", photos / "test", "--bundle", trusted.path, *ONLY_FP32, "-o", out).exit_code == 0
    assert out.read_text().splitlines()[0] == "path,label,probability,error"


def test_the_api_gives_calibrated_probabilities_and_the_judgement(trusted: Bundle, photos: Path) -> None:
    paths = sorted((photos / "test/Beet").iterdir())
    model = load(trusted.path, variant="fp32", runtime="onnxruntime", reject=True)
    plain = load(trusted.path, variant="fp32", runtime="onnxruntime")
    (row,) = load_trust(trusted).candidates  # type: ignore[union-attr]
    for judged, raw in zip(model.predict(paths), plain.predict(paths), strict=True):
        assert judged.label == raw.label
        assert judged.judgement is not None
        assert raw.judgement is None
        assert "decision" not in raw.to_dict()
        assert judged.to_dict()["decision"] == judged.judgement.decision
        logits = np.log([score.probability for score in raw.top]) / row.temperature
        assert judged.probability == pytest.approx(softmax(logits[None].astype(np.float32)).max(), abs=1e-4)


def test_noise_is_foreign(trusted: Bundle) -> None:
    model = load(trusted.path, variant="fp32", runtime="onnxruntime", reject=True)
    black = model.predict(np.zeros((1, *model.shape), np.uint8))[0]
    assert black.judgement is not None
    assert black.judgement.decision == "foreign"
    assert black.judgement.foreign_score > 0


def test_a_decision_needs_both_a_known_object_and_enough_probability(trusted: Bundle) -> None:
    (row,) = load_trust(trusted).candidates  # type: ignore[union-attr]
    row = replace(row, temperature=2.0, foreign=replace(row.foreign, method="max-logit", threshold=-4.0))
    judge = Judge(row, trusted.manifest.classes, None)
    logits = np.array([[12, 0, 0], [5, 4.5, 0], [3, 0, 0]], np.float32)
    judged = judge.judge(Answers(logits))
    assert [judgement.decision for judgement in judged.judgements] == ["accept", "unsure", "foreign"]
    assert judged.probabilities == pytest.approx(softmax(logits / np.float32(2)))
    assert judged.judgements[2].foreign_score == pytest.approx(1.0)
    none = replace(row, abstention=replace(row.abstention, threshold=None))
    assert Judge(none, trusted.manifest.classes, None).judge(Answers(logits)).judgements[0].decision == "unsure"


def test_sets_have_the_most_probable_class_first(trusted: Bundle) -> None:
    (row,) = load_trust(trusted).candidates  # type: ignore[union-attr]
    rules = tuple(replace(rule, threshold=0.8) for rule in row.sets)
    judge = Judge(
        replace(row, temperature=1.0, sets=rules, foreign=replace(row.foreign, method="energy")), ("a", "b", "c"), None
    )
    logits = np.log(np.array([[0.3, 0.6, 0.1], [0.19, 0.62, 0.19]], np.float32))
    assert [judgement.set for judgement in judge.judge(Answers(logits)).judgements] == [("b", "a"), ("b",)]
    assert Judge(replace(judge.trust, sets=()), ("a", "b", "c"), None).judge(Answers(logits)).judgements[0].set is None


def test_what_was_learned_of_another_model_is_not_used(trusted: Bundle, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(trusted.path, tmp_path / "other")
    with changing(tmp_path / "other") as staging:
        bundle = open_bundle(tmp_path / "other", verify=False)
        changed = bundle.file("model", "fp32").read_bytes() + b"\x3a\x00"  # an empty field more: another file
        staging.file("fp32.onnx").write_bytes(changed)
        staging.add("fp32.onnx", "model", "fp32")
        staging.finish(bundle.manifest)
    with pytest.raises(VegrtError, match="is about an earlier fp32/onnxruntime; make it: vegrt trust"):
        open_judge(open_bundle(tmp_path / "other"), FP32)
    line = failure(
        "infer",
        photos / "test",
        "--bundle",
        tmp_path / "other",
        "--runtime",
        "openvino",
        "--variant",
        "fp32",
        "--reject",
    )
    assert "does not know fp32/openvino (it knows fp32/onnxruntime); make it: vegrt trust" in line


def test_without_trust_reject_names_the_cure(bundle: Bundle, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo = photos / "test/Beet/000.jpg"
    assert "make it: vegrt trust" in failure("infer", photo, "--bundle", bundle.path, *ONLY_FP32, "--reject")
    with caplog.at_level(logging.INFO):
        assert call("infer", photo, "--bundle", bundle.path, *ONLY_FP32, "--min-probability", "0.5").exit_code == 0
    assert "the probabilities are not calibrated; calibrated ones: vegrt trust" in caplog.text


def test_a_damaged_file_is_refused(trusted: Bundle, tmp_path: Path) -> None:
    shutil.copytree(trusted.path, tmp_path / "damaged")
    trust = json.loads(trusted.file("trust").read_text())
    for change, fault in (
        ({"classes": ["Beet", "Cress"]}, "by_class"),
        ({"schema_version": 9}, "schema_version is 9; expected 1 or 2"),
        ({"schema_version": 1}, "schema_version is 1; expected 2 for mahalanobis-two-neighbours"),
        ({"embeddings": None}, "embeddings is missing"),
    ):
        with changing(tmp_path / "damaged") as staging:
            bundle = open_bundle(tmp_path / "damaged", verify=False)
            staging.file("trust.json").write_text(json.dumps(trust | change))
            staging.add("trust.json", "trust")
            staging.finish(bundle.manifest)
        with pytest.raises(BundleError, match=fault):
            open_judge(open_bundle(tmp_path / "damaged"), FP32)


def test_a_judgement_is_what_the_server_answers(trusted: Bundle, photos: Path) -> None:
    model = load(trusted.path, variant="fp32", runtime="onnxruntime", reject=True)
    images = np.random.default_rng(0).integers(0, 256, (3, *model.shape), np.uint8)
    columns = model.columns(images)
    assert columns.shape[1] > len(model.classes)
    assert np.array_equal(columns[:, : len(model.classes)], model.logits(images))
    rows = [model.predictions_of(columns[index : index + 1], 1)[0].judgement for index in range(3)]
    whole = [row.judgement for row in model.predictions_of(columns, 1)]
    assert all(isinstance(row, Judgement) for row in whole)
    assert [row.decision for row in rows if row] == [row.decision for row in whole if row]
