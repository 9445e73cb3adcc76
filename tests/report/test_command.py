"""`vegrt report` on the command line: which files appear, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import answer, call, failure
from vegrt.bundle.bundle import Bundle

Make = Callable[..., Bundle]
SPEED = {"fp32/onnxruntime": 10.0, "int8/onnxruntime": 4.0}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def files_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if file.is_file()}


def test_ending_decides_what_out_is(make: Make, tmp_path: Path) -> None:
    bundle = make(speed_ms=SPEED, provenance=False)
    assert call("report", bundle.path, "-o", "out.md", "--lang", "ko").exit_code == 0
    assert files_in(tmp_path) == {"out.md"}
    assert (tmp_path / "out.md").read_text(encoding="utf-8").startswith("# 배포 보고서: resnet18\n")


def test_a_card_alone_makes_no_page(make: Make, tmp_path: Path) -> None:
    bundle = make(speed_ms=SPEED, provenance=False)
    shown = answer("report", bundle.path, "--card", "README.md", "--card-license", "mit")
    assert shown["written"] == ["README.md"]
    assert files_in(tmp_path) == {"README.md"}
    assert 'license: "mit"' in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_without_any_file_named_it_is_a_page(make: Make, tmp_path: Path) -> None:
    bundle = make(speed_ms=SPEED, provenance=False)
    assert answer("report", bundle.path)["report"] == "report.html"
    assert files_in(tmp_path) == {"report.html"}


def test_an_audit_that_was_asked_for_must_fit(make: Make, tmp_path: Path) -> None:
    bundle = make(speed_ms=SPEED)
    empty: dict[str, object] = {"fingerprints": {}, "counts": {}, "near_pairs": [], "leaked_test_images": {}}
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit/audit.json").write_text(json.dumps({"format": "vegrt-audit", "format_version": 1} | empty))
    refused = ("report", bundle.path, "-o", "out.md", "--audit", "audit/audit.json")
    assert "not of the photos of these bundles" in failure(*refused)
    assert call("report", bundle.path, "-o", "out.md").exit_code == 0
