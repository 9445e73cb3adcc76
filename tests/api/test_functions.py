"""The Python API on a real run: train, export, evaluate, bench, report and trust, each with its notebook view and its JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import vegrt
from tests.command_line import answer, call
from tests.conftest import SMALL
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.results.benchmark import Bench
from vegrt.results.convert import from_dict
from vegrt.results.evaluation import Evaluation

SETTINGS: dict[str, Any] = {"backbone": "timm:test_resnet", "weights": "none", "size": 48, "epochs": 1}
QUICK: dict[str, Any] = {"rounds": 2, "batch": (1,), "memory": False, "limits": False, "runtime": "onnxruntime"}


def shown(result: Any) -> str:
    """Return what a notebook shows of a result: static, self-contained HTML."""
    html = str(result._repr_html_())
    assert html.startswith('<div class="vegrt-result">')
    assert "<script" not in html
    assert "http:" not in html.replace("http://www.w3.org/", "")
    assert len(html) < 300_000
    return html


def test_a_training_returns_its_bundle(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trained = vegrt.train(photos, tmp_path / "m", runs=tmp_path / "runs.db", **SETTINGS)
    assert trained.bundle.path == tmp_path / "m"
    assert 0 <= trained.validation_accuracy <= 1
    assert trained.best_epoch == 1
    assert trained.to_dict()["training"] == open_bundle(tmp_path / "m").manifest.training
    assert "<svg" in shown(trained)
    assert capfd.readouterr() == ("", ""), "no progress without a terminal, and results are returned"
    with pytest.raises(vegrt.VegrtError, match="--overwrite"):
        vegrt.train(str(photos), str(tmp_path / "m"), runs=tmp_path / "runs.db", **SETTINGS)


def test_an_export_returns_its_bundle_and_shows_progress_if_wanted(
    trained: Bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained.path, tmp_path / "m")
    exported = vegrt.export(tmp_path / "m", photos, engine=False, photos=16, progress=True)
    assert {"fp32", "fp16", "int8", "int8-cpu"} <= {*exported.bundle.variants()}
    assert exported.to_dict().keys() == {"bundle", "artifacts", "calibration", "seconds"}
    assert "int8-cpu.onnx" in shown(exported)
    written = capsys.readouterr()
    assert written.out == ""
    assert "16" in written.err
    commands = exported.bundle.manifest.calibration["commands"]
    assert commands == [{"name": "export", "options": {"--data": photos.name, "--no-engine": False, "--photos": 16}}]
    again = vegrt.calibrate(tmp_path / "m", photos, photos=16, curve=True)
    assert not again.replaced
    assert again.analyses.curve is not None
    assert again.to_dict().keys() == {"bundle", "calibration", "curve"}
    assert "int8-cpu.onnx" in shown(again)


def test_results_are_those_of_the_commands(copied: Bundle, photos: Path, tmp_path: Path) -> None:
    path = copied.path
    evaluation = vegrt.evaluate(path, photos, runtime="onnxruntime", margin="auto")
    words = (
        "evaluate",
        path,
        "--data",
        photos,
        "--runtime",
        "onnxruntime",
        "--margin",
        "auto",
        "--inconclusive",
        "pass",
    )
    assert without_times(evaluation.to_dict()) == without_times(json.loads(call(*words, "--json").stdout))
    assert from_dict(Evaluation, evaluation.to_dict()) == evaluation
    assert "INCONCLUSIVE" in shown(evaluation) or "PASS" in shown(evaluation)
    bench = vegrt.bench(str(path), **QUICK)
    assert from_dict(Bench, bench.to_dict()) == bench
    assert json.loads((path / "results/bench-only-onnxruntime.json").read_text()) == bench.to_dict()
    assert "images/s" in shown(bench)
    reported = vegrt.report([path], out=tmp_path / "report.html", data=photos)
    assert reported.written == (tmp_path / "report.html",)
    assert answer("report", path, "-o", tmp_path / "report.html", "--data", photos) == reported.to_dict()
    ((bundle, conclusion),) = reported.conclusions.items()
    assert conclusion.headline in shown(reported)
    assert reported.summaries[bundle][0].verdict == "REFERENCE"


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in ("created", "command")}


def test_trust_is_learned(copied: Bundle, photos: Path) -> None:
    learned = vegrt.trust(copied.path, photos, variant=["fp32"], runtime="onnxruntime", max_error=5)
    assert learned.trust.max_error == 0.05
    assert learned.bundle.has("trust")
    body = json.loads((copied.path / "trust.json").read_text())
    body.pop("embeddings")
    assert json.loads(json.dumps(learned.to_dict())) == body
    assert "temperature" in shown(learned)
    assert vegrt.load(copied.path, variant="fp32", runtime="onnxruntime", reject=True).judge is not None


def test_a_wrong_argument_is_one_line(photos: Path, copied: Bundle) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("--margin much: expected points", {"margin": "much"}),
        ("device 'tpu': expected one of cpu, cuda", {"device": "tpu"}),
    ]
    for message, arguments in wrong:
        with pytest.raises(vegrt.ArgumentError, match=message):
            vegrt.evaluate(copied.path, photos, **arguments)
    with pytest.raises(vegrt.ArgumentError, match="rounds 0: expected 1 or more"):
        vegrt.bench(copied.path, rounds=0)
    with pytest.raises(vegrt.ArgumentError, match="builder_level 6: expected 0 to 5"):
        vegrt.export(copied.path, photos, builder_level=6)
    misspelt: dict[str, Any] = {"epoch": 1}
    with pytest.raises(TypeError, match="epoch"):
        vegrt.train(photos, copied.path, **misspelt)
    assert SMALL.epochs > 1
