"""`vegrt report` on the command line: which files appear, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vegrt.bundle.bundle import Bundle
from vegrt.cli import app

Make = Callable[..., Bundle]
SPEED = {"fp32/onnxruntime": 10.0, "int8/onnxruntime": 4.0}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def made(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if file.is_file()}


def test_ending_decides_what_out_is(make: Make, tmp_path: Path) -> None:
    bundle = make(speed_ms=SPEED, provenance=False)
    assert call(bundle.path, "-o", "out.md", "--lang", "ko").exit_code == 0
    assert made(tmp_path) == {"out.md"}
    assert (tmp_path / "out.md").read_text(encoding="utf-8").startswith("# 배포 보고서: resnet18\n")


def test_a_card_alone_makes_no_page(make: Make, tmp_path: Path) -> None:
    bundle = make(speed_ms=SPEED, provenance=False)
    shown = call(bundle.path, "--card", "README.md", "--card-license", "mit", "--json")
    assert json.loads(shown.stdout)["written"] == ["README.md"]
    assert made(tmp_path) == {"README.md"}
    assert 'license: "mit"' in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_without_any_file_named_it_is_a_page(make: Make, tmp_path: Path) -> None:
    bundle = make(speed_ms=SPEED, provenance=False)
    shown = call(bundle.path, "--json")
    assert json.loads(shown.stdout)["report"] == "report.html"
    assert made(tmp_path) == {"report.html"}


def test_an_audit_that_was_asked_for_must_fit(make: Make, tmp_path: Path) -> None:
    bundle = make(speed_ms=SPEED)
    empty: dict[str, object] = {"fingerprints": {}, "counts": {}, "near_pairs": [], "leaked_test_images": {}}
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit/audit.json").write_text(json.dumps({"format": "vegrt-audit", "format_version": 1} | empty))
    refused = call(bundle.path, "-o", "out.md", "--audit", "audit/audit.json")
    assert refused.exit_code == 1
    assert "not of the photos of these bundles" in refused.stderr
    assert call(bundle.path, "-o", "out.md").exit_code == 0
