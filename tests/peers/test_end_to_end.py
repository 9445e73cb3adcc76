"""The tables of the comparison with other programs, and a comparison that is really run."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vegrt.bundle.bundle import Bundle

PEERS = Path(__file__).parents[2] / "peers"


@pytest.fixture
def end_to_end(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the program, whose folder is no package."""
    monkeypatch.syspath_prepend(PEERS)
    return import_module("end_to_end")


@pytest.fixture
def rows(end_to_end: Any) -> Any:
    """Two programs and their engines that ran three rounds, and one that is not installed."""
    row = end_to_end.Row
    return [
        row("vegrt", "files", "vegrt int8", images=8, batch=16, load_s=1.0, seconds=[1.0, 2.0, 4.0, 1.0, 1.0]),
        row("vegrt-fp32-mnn", "files", "vegrt fp32/mnn", images=8, batch=16, seconds=[2.0, 2.0, 2.0, 2.0, 2.0]),
        row("mnn", "files", "MNN", images=8, batch=8, load_s=3.0, seconds=[3.0, 8.0, 4.0, 3.0, 3.0], top1=0.5),
        row("mnn", "memory", "MNN", images=8, batch=8, seconds=[0.5, 1.0, 2.0, 0.5, 0.5]),
        row("ncnn", "files", "ncnn", skipped="not installed (No module named 'ncnn')"),
    ]


def test_ratios_are_medians_within_rounds(end_to_end: Any, rows: Any) -> None:
    lines = end_to_end.table(rows).splitlines()[2:]
    assert [line.split(" | ")[:2] for line in lines] == [
        ["| MNN", "memory"],
        ["| vegrt int8", "files"],
        ["| vegrt fp32/mnn", "files"],
        ["| MNN", "files"],
        ["| ncnn", "files"],
    ]
    assert "| 8 | 2.7 (1.0 to 2.7) | 3.00 (1.00 to 4.00) | 50.00 |" in lines[3]
    assert "not run: not installed (No module named 'ncnn')" in lines[4]
    assert "| 3.00 (1.40 to 3.67) |" in end_to_end.table(rows, load=True)


def test_a_peer_is_compared_with_vegrt_on_the_same_engine(end_to_end: Any, rows: Any) -> None:
    lines = end_to_end.same_engine_table(rows).splitlines()[2:]
    assert lines == ["| MNN | vegrt fp32/mnn | 1.50 (1.50 to 4.00) | 0.25 (0.25 to 1.00) |"]
    assert {name: value.value for name, value in end_to_end.goals(rows).items() if value} == {
        "the fastest engine from memory (MNN)": 0.5
    }


def test_other_answers_are_counted(end_to_end: Any) -> None:
    rows = [end_to_end.Row(key, "files", key) for key in (end_to_end.REFERENCE, "mnn")]
    answers = {id(rows[0]): {"a": "Bean", "b": "Carrot"}, id(rows[1]): {"a": "Bean", "b": "Potato"}}
    end_to_end.compare(rows, answers)
    assert [(row.same_top1, row.compared) for row in rows] == [(2, 2), (1, 2)]


def test_programs_are_run_and_compared(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    """plain_onnxruntime has vegrt's answers; a program that fails is named with its reason."""
    words = ["--peers", "onnxruntime,torch", "--rounds", "1", "--limit", "3", "--tried", "2", "--batches", "2"]
    command = [sys.executable, str(PEERS / "end_to_end.py"), str(photos / "test"), "--bundle", str(bundle.path), *words]
    done = subprocess.run([*command, "--json", str(tmp_path / "out.json")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (measured,) = json.loads((tmp_path / "out.json").read_text())["bundles"].values()
    rows = {(row["key"], row["mode"]): row for row in measured["rows"]}
    assert rows["onnxruntime", "files"]["same_top1"] == rows["onnxruntime", "memory"]["same_top1"] == 3
    assert rows["onnxruntime", "files"]["compared"] == 3
    assert np.isfinite(measured["ratios"]["vegrt against onnxruntime from memory"]["value"])
    assert "exit 1: ValueError" in rows["torch", "files"]["skipped"]
    assert "exit 1: ValueError" in done.stdout
