"""`vegrt calibrate` on a real bundle: what it replaces, keeps and logs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.command_line import answer, call
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.calibration.analysis import Analyses
from vegrt.calibration.resume import PROGRESS
from vegrt.calibration.settings import CalibrationSettings, float_layers_json
from vegrt.calibration.tables import calibration_tables
from vegrt.export.stage import ExportJob, load_photos, recalibrate
from vegrt.files.atomic import write_json
from vegrt.infer.runtimes.candidates import Candidate, is_float16
from vegrt.infer.runtimes.open import open_candidate
from vegrt.photo import preprocess
from vegrt.results.analysis import Curve, Sensitivity
from vegrt.results.convert import to_dict
from vegrt.results.files import load_result


def test_layers_named_in_a_file_go_back_to_float_without_calibrating_again(
    copied: Bundle, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_json(tmp_path / "float.json", float_layers_json({"signed": ["conv1.0", "layer1.0.add"]}))
    before = {artifact.path: artifact.sha256 for artifact in copied.manifest.artifacts}
    words = ["calibrate", copied.path, "--data", photos, "--no-engine", "--float-type", "fp32", "--curve"]
    words.append("--overwrite")  # the engines
    calibration = answer(*words, "--float-layers", tmp_path / "float.json")["calibration"]
    assert calibration["float_layers"] == {"int8": ["conv1.0", "layer1.0.add"], "int8-cpu": []}
    assert 0.8 < calibration["int8_macs_share"]["int8"] < 1
    assert not [record for record in caplog.records if "calibrating again" in record.getMessage()]
    after = open_bundle(copied.path)
    changed = {artifact.path for artifact in after.manifest.artifacts if before.get(artifact.path) != artifact.sha256}
    assert changed == {"int8.onnx", "calibration.json", "float-layers.json"}
    assert not [
        artifact for artifact in after.manifest.artifacts if artifact.role == "engine"
    ]  # none of the model that was replaced
    assert not (copied.path / PROGRESS).exists()
    assert not is_float16(after, "int8")
    graph = onnx.load(after.file("model", "int8")).graph
    reads = {node.name: list(node.input) for node in graph.node}
    assert not any(name.endswith(".dq") for name in reads["conv1.0"] + reads["layer1.0.add"])
    assert reads["layer1.0.conv1"][1].endswith(".dq")
    assert {tensor.data_type for tensor in graph.initializer} == {onnx.TensorProto.FLOAT, onnx.TensorProto.INT8}
    assert open_candidate(after, Candidate("int8", "onnxruntime"))
    curve = load_result(after, Curve, "curve")
    assert curve is not None
    assert [(point.images, point.encoding) for point in curve.rows] == [(24, "signed"), (24, "unsigned")]
    headings = [str(table.title) for table in calibration_tables(after, Analyses(curve=curve))]
    assert headings[0] == "Ranges from 24 photos, scored on 24 held-out photos"
    assert len(headings) == 3


def test_the_table_of_the_tournament_says_where_a_method_was_stopped(bundle: Bundle) -> None:
    calibration = bundle.manifest.calibration
    loser = next(name for name in ("minmax", "mse") if name != calibration["method"]["signed"])
    rows = [
        row | {"stopped": {"images": 96, "reason": "KL"}}
        if (row["method"], row["encoding"]) == (loser, "signed")
        else row
        for row in calibration["tournament"]
    ]
    raced = replace(bundle, manifest=replace(bundle.manifest, calibration=calibration | {"tournament": rows}))
    outcomes = [str(cell) for cell in next(calibration_tables(raced, Analyses())).columns[-1].cells]
    assert sorted(filter(None, outcomes)) == ["chosen", "chosen", "stopped after the 96 hardest photos (KL)"]


def test_analyses_write_results_and_replace_nothing(copied: Bundle, photos: Path) -> None:
    before = {file: file.read_bytes() for file in sorted(copied.path.rglob("*")) if file.is_file()}
    words = ["calibrate", copied.path, "--data", photos, "--no-engine", "--photos", "16"]
    shown = answer(*words, "--sensitivity", "--curve")
    after = {file: file.read_bytes() for file in sorted(copied.path.rglob("*")) if file.is_file()}
    assert {file: after[file] for file in before} == before
    assert {file.name for file in after.keys() - before.keys()} == {"sensitivity.json", "curve.json"}
    layers = {row["layer"] for row in shown["sensitivity"]["rows"]}
    assert (len(layers), len(shown["curve"]["rows"])) == (20, 2)
    sensitivity = load_result(open_bundle(copied.path), Sensitivity, "sensitivity")
    assert sensitivity is not None
    assert to_dict(sensitivity)["rows"] == shown["sensitivity"]["rows"]


def test_another_percentile_calibrates_again_and_logs_the_reason(
    copied: Bundle, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    was = copied.manifest.calibration
    job = ExportJob(engines=False, settings=CalibrationSettings(percentile=99.0, max_flips=24))
    after = recalibrate(copied.path, load_photos(copied, photos, job), job)
    assert "calibration.json: not used, it was made with method: percentile 99.99, now 99.0" in caplog.text
    assert after.manifest.calibration["key"] != was["key"]
    assert after.manifest.calibration["budget"] == {"max_drop": None, "max_flips": 24, "images": 24}
    assert after.manifest.calibration["budget_scores"]["int8"]["flips"] <= 24
    assert after.manifest.calibration["float_layers"] == {"int8": [], "int8-cpu": []}


def test_a_bundle_without_models_has_to_be_exported_first(trained: Bundle, photos: Path) -> None:
    result = call("calibrate", trained.path, "--data", photos)
    assert result.exit_code == 1
    assert "no fp32 model (variants: none); make it with: vegrt export" in result.output


def test_a_run_decodes_each_photo_once(copied: Bundle, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Observation, tournament, budget, parity, golden photos and both analyses read the same decoded photos."""
    decoded: Counter[Path] = Counter()
    load_image = preprocess.load_image

    def counting(source: Any, *more: Any) -> Any:
        if isinstance(source, Path):
            decoded[source] += 1
        return load_image(source, *more)

    for module in ("vegrt.infer.decode.local", "vegrt.photo.preprocess"):
        monkeypatch.setattr(f"{module}.load_image", counting)
    words = ["calibrate", copied.path, "--data", photos, "--no-engine", "--percentile", "99", "--max-flips", "0"]
    result = call(*words, "--sensitivity", "--curve", "--overwrite")
    assert result.exit_code == 0, result.output
    assert decoded == dict.fromkeys((photos / "validation").rglob("*.jpg"), 1)
