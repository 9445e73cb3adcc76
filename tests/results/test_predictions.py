"""Answers of many photos lie in a Parquet file beside the result, and are read as those within it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tests.result_files import Results, inline
from vegrt.bundle.bundle import Bundle
from vegrt.bundle.entries import result_names
from vegrt.bundle.pack import pack, unpack
from vegrt.bundle.stale_results import stale_results
from vegrt.errors import BundleError
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.results.bundle_results import read_results
from vegrt.results.evaluation import CandidateAnswers, Evaluation, Predictions, PredictionsFile
from vegrt.results.files import load_result, save_result
from vegrt.results.predictions import read_predictions, tables_of

OPENVINO, INT8_CPU = Candidate("int8-cpu", "openvino"), Candidate("int8-cpu", "onnxruntime")


def table_of(bundle: Bundle) -> Path:
    """Return the Parquet file of the evaluation."""
    (file,) = tables_of(bundle.path / "results/evaluate-test.json")
    return file


@pytest.fixture
def large(two_gpus: Bundle, results: Results) -> Evaluation:
    """An evaluation whose answers were written to a file of their own."""
    evaluation = results.evaluated({OPENVINO: "PASS"})
    columns = {
        key: CandidateAnswers((0, 1), (0.123457, 1.0), (0.000001, 0.999999)) for key in inline(evaluation).candidates
    }
    evaluation = replace(evaluation, predictions=replace(inline(evaluation), candidates=columns))
    save_result(two_gpus, "evaluate-test", evaluation, max_inline_photos=1)
    return evaluation


def test_readers_get_the_same_answers_from_the_file(two_gpus: Bundle, large: Evaluation) -> None:
    body = json.loads((two_gpus.path / "results/evaluate-test.json").read_text())
    assert set(body["predictions"]) == {"file", "sha256", "photos", "photos_sha256"}
    stored = load_result(two_gpus, Evaluation, "evaluate-test")
    assert stored is not None
    assert isinstance(stored.predictions, PredictionsFile)
    assert replace(stored, predictions=read_predictions(two_gpus.path / "results", stored)) == large
    merged = read_results(two_gpus, with_predictions=True).evaluation
    assert merged is not None
    assert merged.evaluation.predictions == large.predictions


def test_results_within_and_beside_the_file_are_joined(two_gpus: Bundle, results: Results, large: Evaluation) -> None:
    results.evaluated({INT8_CPU: "PASS"}, "evaluate-test-only-x")
    merged = read_results(two_gpus, with_predictions=True)
    assert merged.evaluation is not None
    assert not merged.ignored
    assert set(inline(merged.evaluation.evaluation).candidates) == {
        "fp32/onnxruntime",
        "int8-cpu/openvino",
        "int8-cpu/onnxruntime",
    }
    without = read_results(two_gpus).evaluation  # as infer reads them
    assert without is not None
    assert len(without.evaluation.candidates) == 3
    assert isinstance(without.evaluation.predictions, PredictionsFile)


def test_results_of_other_photos_are_not_joined(two_gpus: Bundle, results: Results, large: Evaluation) -> None:
    other = Predictions(("a/0.jpg", "b/9.jpg"), (0, 1), {"fp32/onnxruntime": CandidateAnswers((0, 1), (1.0, 1.0))})
    results.evaluated({}, "evaluate-test-only-x", predictions=other)
    assert [row.cause for row in read_results(two_gpus).ignored] == ["other-photos"]


def change_table(path: Path, name: str, values: pyarrow.Array) -> None:
    """Replace a column, and the file's hash in the result, as a forger would."""
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.set_column(table.column_names.index(name), name, values), path)


FAULTS: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "not the file that was written": lambda file: file.write_bytes(file.read_bytes() + b"x"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_answers_that_do_not_belong_to_the_result_are_refused(two_gpus: Bundle, large: Evaluation, fault: str) -> None:
    FAULTS[fault](table_of(two_gpus))
    with pytest.raises(BundleError, match=rf"evaluate-test\.\w+\.parquet: {fault}.*; run vegrt evaluate again"):
        read_results(two_gpus, with_predictions=True)
    assert read_results(two_gpus).evaluation is not None  # verdicts need no answers


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("label", pyarrow.array([0, 7], "int32"), "label that is none of 2 classes"),
        ("label", pyarrow.array(["a", "b"]), "label is string"),
        ("path", pyarrow.array(["a", None]), "1 empty cells"),
        ("fp32/onnxruntime/probability", pyarrow.array([0.5, float("nan")], "float32"), "not finite"),
        ("fp32/onnxruntime/margin", pyarrow.array([0.5, 2.0], "float32"), "beyond 0 to 1"),
        ("fp32/onnxruntime/top1", pyarrow.array([0, 0, 0], "int32"), "3 rows"),
    ],
)
def test_a_forged_file_is_refused(
    two_gpus: Bundle, large: Evaluation, name: str, values: pyarrow.Array, message: str
) -> None:
    from vegrt.files.hashing import sha256_of

    file, result = table_of(two_gpus), two_gpus.path / "results/evaluate-test.json"
    if len(values) == 2:
        change_table(file, name, values)
    else:
        pyarrow.parquet.write_table(pyarrow.table({name: values}), file)
    body = json.loads(result.read_text())
    body["predictions"]["sha256"] = sha256_of(file)
    result.write_text(json.dumps(body))
    with pytest.raises(BundleError, match=message):
        read_results(two_gpus, with_predictions=True)


def test_a_reference_leads_to_no_other_folder(two_gpus: Bundle, large: Evaluation, tmp_path: Path) -> None:
    result = two_gpus.path / "results/evaluate-test.json"
    body = json.loads(result.read_text())
    table_of(two_gpus).rename(tmp_path / "evaluate-test.parquet")
    body["predictions"]["file"] = "../../evaluate-test.parquet"
    result.write_text(json.dumps(body))
    with pytest.raises(BundleError, match="missing, or not a regular file"):
        read_results(two_gpus, with_predictions=True)


def test_the_file_goes_where_its_result_goes(two_gpus: Bundle, large: Evaluation, tmp_path: Path) -> None:
    table = f"results/{table_of(two_gpus).name}"
    assert table in result_names(two_gpus.path)
    assert table in pack(two_gpus.path, tmp_path / "packed.zip")
    unpacked = unpack(tmp_path / "packed.zip", tmp_path / "unpacked")
    assert read_results(unpacked, with_predictions=True) == read_results(two_gpus, with_predictions=True)
    assert stale_results(two_gpus.path, ["another"]) == [table, "results/evaluate-test.json"]


def test_a_smaller_evaluation_removes_the_file_of_the_one_before(two_gpus: Bundle, large: Evaluation) -> None:
    save_result(two_gpus, "evaluate-test", large)
    assert not tables_of(two_gpus.path / "results/evaluate-test.json")
    assert load_result(two_gpus, Evaluation, "evaluate-test") == large
