"""Results of the Python API: as the commands give them, as notebooks show them, and as errors.

A whole run from photos to a report is that of tests/docs/test_python_examples.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import vegrt
from tests.command_line import answer, call
from vegrt.api.outcomes import Calibrated, Exported, Trained
from vegrt.bundle.bundle import Bundle
from vegrt.calibration.analysis import Analyses
from vegrt.results.benchmark import Bench
from vegrt.results.convert import from_dict
from vegrt.results.evaluation import Evaluation

QUICK: dict[str, Any] = {"rounds": 2, "batch": (1,), "memory": False, "limits": False, "runtime": "onnxruntime"}


def shown(result: Any) -> str:
    """Return what a notebook shows of a result: static, self-contained HTML."""
    html: str = result.to_html()
    assert html.startswith('<div class="vegrt-result">')
    assert "<script" not in html
    assert "http:" not in html.replace("http://www.w3.org/", "")
    assert len(html) < 300_000
    return html


def test_a_bundle_shows_how_it_was_made(bundle: Bundle) -> None:
    trained, exported = Trained(bundle), Exported(bundle, {"total": 1.5})
    assert trained.best_epoch == bundle.manifest.training["best_epoch"]
    assert trained.to_dict()["training"]["validation_accuracy"] == trained.validation_accuracy
    assert "<svg" in shown(trained)
    assert exported.to_dict()["seconds"] == {"total": 1.5}
    assert "int8-cpu.onnx" in shown(exported)
    assert "int8-cpu.onnx" in shown(Calibrated(bundle, Analyses(), replaced=True))


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
    reported = vegrt.report([path], out=tmp_path / "report.md", data=photos)
    assert reported.written == (tmp_path / "report.md",)
    assert answer("report", path, "-o", tmp_path / "report.md", "--data", photos) == reported.to_dict()
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


def test_without_the_extra_a_notebook_shows_the_text(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    assert Trained(bundle).to_html() is None


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
    text: Any = "many"
    with pytest.raises(vegrt.ArgumentError, match="rounds 'many': expected 1 or more"):
        vegrt.bench(copied.path, rounds=text)
    with pytest.raises(vegrt.ArgumentError, match="builder_level 6: expected 0 to 5"):
        vegrt.export(copied.path, photos, builder_level=6)
    misspelt: dict[str, Any] = {"epoch": 1}
    with pytest.raises(TypeError, match="epoch"):
        vegrt.train(photos, copied.path, **misspelt)
