"""The run history: its records, simultaneous writers, and how runs are named, compared and deleted."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vegrt.errors import VegrtError
from vegrt.train.history.mistakes import Explanation
from vegrt.train.history.records import EpochRecord
from vegrt.train.history.runs_db import Recorder, compare_runs, delete_runs, list_runs, load_run

RECORD = EpochRecord(1, "all", 0.9, 0.5, 0.8, 0.6, 1e-4, 50.0, 3.0, {"layer1": 0.25})


def record_run(db: Path, run: str, *, lr: float = 1e-4, losses: tuple[float, ...] = (0.8, 0.4, 0.6)) -> None:
    recorder = Recorder(db, run)
    recorder.start({"backbone": "resnet18", "lr": lr}, data=Path("data"), bundle=Path("models/one"))
    for epoch, loss in enumerate(losses, 1):
        recorder.epoch(replace(RECORD, epoch=epoch, validation_loss=loss))


def test_every_epoch_is_recorded_as_soon_as_it_ends(tmp_path: Path) -> None:
    db = tmp_path / "deep" / "runs.db"
    record_run(db, "a")
    run = load_run(db, "a")
    assert (run.status, run.ended, len(run.epochs)) == ("running", None, 3)
    assert run.epochs[0] == RECORD
    best = run.best()
    assert best is not None
    assert best.epoch == 2
    Recorder(db, "a").epoch(replace(RECORD, epoch=3, validation_loss=0.1))  # repeated after a kill
    explanation = Explanation(("Beet",), ((1,),), mistakes=())
    Recorder(db, "a").explain(explanation)
    Recorder(db, "a").end("finished")
    run = load_run(db, "a")
    assert (run.status, len(run.epochs), run.epochs[2].validation_loss) == ("finished", 3, 0.1)
    assert run.explanation == explanation
    assert run.ended is not None
    assert run.ended >= run.started


def test_two_runs_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    db, names = tmp_path / "runs.db", ("a", "b", "c")
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: record_run(db, name, losses=(0.5,) * 12), names))
    assert {run.id: len(run.epochs) for run in list_runs(db)} == dict.fromkeys(names, 12)


def test_a_new_history_waits_while_another_process_writes_its_first_run(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    with closing(sqlite3.connect(db, isolation_level=None)) as other, ThreadPoolExecutor(1) as pool:
        other.execute("CREATE TABLE other (x)")
        other.execute("BEGIN IMMEDIATE")
        recording = pool.submit(record_run, db, "a")
        with pytest.raises(FutureTimeoutError):
            recording.result(timeout=0.2)
        other.execute("COMMIT")
        recording.result(timeout=30)
    assert load_run(db, "a").status == "running"


def test_compare_shows_differing_entries_and_results(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    record_run(db, "a")
    record_run(db, "b", lr=1e-3, losses=())
    rows = compare_runs(db, ["a", "b"])
    assert rows["lr"] == (1e-4, 1e-3)
    assert "backbone" not in rows
    assert rows["validation_loss"] == (0.4, None)


def test_a_run_is_named_by_a_unique_prefix_or_as_last(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    for run in ("abc1", "abd2", "b"):
        record_run(db, run)
        time.sleep(0.002)  # `started` has a resolution of milliseconds
    assert [load_run(db, name).id for name in ("abc", "abd2", "last")] == ["abc1", "abd2", "b"]
    with pytest.raises(VegrtError, match="run 'ab' is ambiguous, it matches abd2, abc1; give more of the id"):
        load_run(db, "ab")
    with pytest.raises(VegrtError, match="no run ''"):
        load_run(db, "")


def test_the_speed_of_the_head_phase_is_not_that_of_the_run(tmp_path: Path) -> None:
    db, recorder = tmp_path / "runs.db", Recorder(tmp_path / "runs.db", "a")
    recorder.start({}, data=Path("d"), bundle=Path("b"))
    assert load_run(db, "a").summary().images_per_s is None
    recorder.epoch(replace(RECORD, phase="head", images_per_s=9000.0))
    assert load_run(db, "a").images_per_s() == 9000.0
    for epoch, speed in ((2, 40.0), (3, 50.0), (4, 52.0)):
        recorder.epoch(replace(RECORD, epoch=epoch, images_per_s=speed))
    assert load_run(db, "a").images_per_s() == 50.0


def test_delete_removes_the_epochs_too(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    record_run(db, "a")
    record_run(db, "b")
    Recorder(db, "b").end("finished")
    with pytest.raises(VegrtError, match="run a is recorded as running; if it was killed, delete it with --force"):
        delete_runs(db, ["b", "a"])
    assert len(list_runs(db)) == 2
    Recorder(db, "a").end("finished")
    assert delete_runs(db, ["a", "a"]) == ["a"]
    assert [run.id for run in list_runs(db)] == ["b"]
    record_run(db, "a", losses=())
    assert load_run(db, "a").epochs == ()


WRITER = """
import sys
from pathlib import Path
from vegrt.train.history.runs_db import Recorder
from vegrt.train.history.mistakes import Explanation
from vegrt.train.history.records import EpochRecord
recorder = Recorder(Path(sys.argv[1]), sys.argv[2])
recorder.start({}, data=Path("d"), bundle=Path("b"))
for epoch in range(1, 101):
    recorder.epoch(EpochRecord(epoch, "all", 1, 1, 1, 1, 1, 1, 1))
"""


def test_runs_at_once_lose_nothing(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(db), name]) for name in "abcd"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0, 0]
    assert {run.id: len(run.epochs) for run in list_runs(db)} == dict.fromkeys("abcd", 100)


def test_errors_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(VegrtError, match="no such run history"):
        list_runs(tmp_path / "absent.db")
    assert not (tmp_path / "absent.db").exists()
    db = tmp_path / "runs.db"
    record_run(db, "a")
    for action in (lambda: load_run(db, "zz"), lambda: delete_runs(db, ["a", "zz"], force=True)):
        with pytest.raises(VegrtError, match="no run 'zz'; recorded runs: a"):
            action()
    assert load_run(db, "a").id == "a"
    foreign = tmp_path / "text.db"
    foreign.write_text("this is no database, but long enough to be read as one" * 20)
    with pytest.raises(VegrtError, match="cannot be used as a run history"):
        list_runs(foreign)


def test_without_a_file_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Recorder(None, "a").start({}, data=Path("d"), bundle=Path("b"))
    Recorder(None, "a").epoch(RECORD)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("recipe", "augmented"),
    [
        ({"augment": "full"}, True),
        ({"augment": "none"}, False),
        ({"augment": "light", "freeze_until": "layer3", "views": 2}, True),
        ({"augment": "light", "freeze_until": "layer3", "views": 1}, False),
        ({"augment": "light", "freeze_until": "", "views": 1}, True),
    ],
)
def test_augmented_tells_whether_the_second_phase_used_augmented_photos(
    tmp_path: Path, recipe: dict[str, Any], augmented: bool
) -> None:
    Recorder(tmp_path / "runs.db", "one").start(recipe, data=tmp_path, bundle=tmp_path)
    assert load_run(tmp_path / "runs.db", "one").augmented is augmented
