"""vegrt runs: answers, error lines and exit codes that scripts rely on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import answer, call, failure
from vegrt.train.history.records import EpochRecord
from vegrt.train.history.runs_db import Recorder


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Two finished runs: `ab12`, then `cd34`."""
    for run, lr in (("ab12", 1e-4), ("cd34", 1e-3)):
        recorder = Recorder(tmp_path / "runs.db", run)
        recorder.start({"backbone": "resnet18", "lr": lr}, data=tmp_path, bundle=tmp_path / "models [x]")
        for epoch, loss in ((1, 0.5), (2, 0.25 if run == "ab12" else 0.75)):
            recorder.epoch(
                EpochRecord(epoch, "all", 0.5 / epoch, 0.9, loss, 0.875, lr, 50.0, 3.0, {"conv1": 1, "head": 2})
            )
        recorder.end("finished")
    return tmp_path / "runs.db"


def test_list_is_newest_first(db: Path) -> None:
    runs = answer("runs", "--runs", db)["runs"]
    assert [(run["id"], run["best_epoch"], run["validation_loss"]) for run in runs] == [
        ("cd34", 1, 0.5),
        ("ab12", 2, 0.25),
    ]
    assert {"images_per_s", "seconds", "bundle", "started"} <= runs[0].keys()
    lines = call("runs", "--runs", db).stdout
    assert lines.index("cd34") < lines.index("ab12")
    assert "87.50" in lines
    assert "[x]" in lines  # brackets in a name are not markup


def test_show_explains(db: Path, tmp_path: Path) -> None:
    value = answer("runs", "show", "last", "--runs", db)
    assert value["id"] == "cd34"
    findings = value["findings"]
    assert findings[0]["key"] == "overfitting"
    shown = call("runs", "show", "ab", "--runs", db, "-o", tmp_path / "run.html", "--png", tmp_path / "charts")
    assert "No overfitting; still improving at the end." in shown.stdout
    assert f"written: {tmp_path / 'run.html'}" in shown.stdout
    assert (tmp_path / "run.html").read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in (tmp_path / "charts").iterdir()) == [
        "accuracy.png",
        "gradients.png",
        "loss.png",
    ]


def test_options_are_accepted_before_the_subcommand(db: Path) -> None:
    result = call("runs", "--runs", db, "--json", "show", "ab12")
    assert json.loads(result.stdout)["id"] == "ab12"


def test_compare_shows_the_differing_settings(db: Path) -> None:
    value = answer("runs", "compare", "ab", "last", "--runs", db)
    assert value["run"] == ["ab12", "cd34"]
    assert value["lr"] == [1e-4, 1e-3]
    assert "backbone" not in value
    assert "0.001" in call("runs", "compare", "ab", "last", "--runs", db).stdout
    assert "expected at least two runs; compare them with: vegrt runs compare ID ID" in failure(
        "runs", "compare", "ab", "--runs", db
    )


def test_delete_takes_all_or_none(db: Path) -> None:
    assert "no run 'zz'; recorded runs: cd34, ab12" in failure("runs", "delete", "ab", "zz", "--runs", db)
    assert answer("runs", "delete", "ab", "--runs", db) == {"deleted": ["ab12"]}
    assert "no run 'ab'; recorded runs: cd34" in failure("runs", "show", "ab", "--runs", db)
    assert call("runs", "delete", "last", "--runs", db).stdout == "deleted: cd34\n"
    assert answer("runs", "--runs", db) == {"runs": []}
    assert "no run 'last'; recorded runs: none" in failure("runs", "show", "last", "--runs", db)


def test_a_missing_history_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "no such run history; `vegrt train` creates it" in failure("runs", "--runs", tmp_path / "absent.db")
