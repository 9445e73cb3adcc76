"""Results of some candidates are read with all others: by infer, report, the card, verify and compare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.cli import app
from vegrt.infer.runtimes.choice import choose

MARGIN = ("--margin", "40")


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def measured(copied: Bundle, photos: Path) -> Bundle:
    """The bundle, whose int8-cpu on OpenVINO was evaluated and timed on its own, and nothing else."""
    asked = ("--variant", "int8-cpu", "--runtime", "openvino")
    evaluated = call("evaluate", copied.path, "--data", photos, *asked, *MARGIN)
    assert evaluated.exit_code == 0, evaluated.output
    timed = call("bench", copied.path, *asked, "--rounds", "1", "--batch", "1", "--no-memory", "--no-limits")
    assert timed.exit_code == 0, timed.output
    return open_bundle(copied.path)


def test_a_partial_evaluation_is_compared_with_the_common_reference(measured: Bundle) -> None:
    body = json.loads((measured.path / "results/evaluate-test-only-int8-cpu-openvino.json").read_text())
    rows = {row["key"]: (row["gate"]["verdict"], row["device"]) for row in body["candidates"]}
    assert rows == {"fp32/onnxruntime": ("REFERENCE", "cpu"), "int8-cpu/openvino": ("PASS", "cpu")}
    assert "gpu" not in body["machine"]


def test_infer_report_card_verify_and_compare_read_partial_results(
    measured: Bundle, photos: Path, tmp_path: Path
) -> None:
    assert str(choose(measured).candidate) == "int8-cpu/openvino"
    card = tmp_path / "card.md"
    shown = call("report", measured.path, "--json", "--card", card)
    assert shown.exit_code == 0, shown.output
    (rows,) = json.loads(shown.stdout)["bundles"].values()
    assert {row["key"]: row["verdict"] for row in rows} == {
        "fp32/onnxruntime": "REFERENCE",
        "int8-cpu/openvino": "PASS",
    }
    assert next(row["p50_ms"] for row in rows if row["key"] == "int8-cpu/openvino") > 0
    text = card.read_text(encoding="utf-8")
    assert "--variant int8-cpu --runtime openvino" in text
    assert "vegrt bench models/small --rounds 1 --batch 1 --variant int8-cpu --runtime openvino --no-memory" in text
    assert "2 candidates are evaluated on the test split, 1 are measured" in call("verify", measured.path).stdout
    evaluated = call(
        "evaluate", measured.path, "--data", photos, "--device", "cpu", "--runtime", "onnxruntime", *MARGIN
    )
    assert evaluated.exit_code == 0, evaluated.output
    assert (measured.path / "results/evaluate-test-only-onnxruntime-cpu.json").is_file()
    (rows,) = json.loads(call("report", measured.path, "--json", "--card", card).stdout)["bundles"].values()
    assert {"int8-cpu/openvino", "int8-cpu/onnxruntime", "fp16/onnxruntime"} < {row["key"] for row in rows}
    assert call("compare", measured.path, measured.path).exit_code == 0


def test_naming_a_missing_device_is_an_error(copied: Bundle, photos: Path) -> None:
    from vegrt.infer.machine.gpu import probe_gpus

    if probe_gpus().gpus:
        pytest.skip("this machine has a GPU")
    for words in (("evaluate", copied.path, "--data", photos), ("bench", copied.path, "--no-memory", "--no-limits")):
        failed = call(*words, "--device", "cuda")
        assert (failed.exit_code, len(failed.stderr.strip().splitlines())) == (1, 1), failed.output
        assert "CUDA" in failed.stderr
