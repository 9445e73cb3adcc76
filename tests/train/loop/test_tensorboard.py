"""TensorBoard reads the recorded scalars back from the files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vegrt.errors import MissingExtraError, VegrtError
from vegrt.train.fit import train
from vegrt.train.history.records import EpochRecord, TrainingProgress
from vegrt.train.history.runs_db import list_runs
from vegrt.train.loop.tensorboard import tensorboard_callback
from vegrt.train.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

Series = dict[str, list[tuple[int, float]]]


def read_back(folder: Path) -> Series:
    """Return (step, value) of each tag, as TensorBoard shows it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def record(epoch: int, loss: float) -> EpochRecord:
    return EpochRecord(epoch, "all", loss, 0.5, loss, 0.6, 1e-4, 50.0, 3.0, {"conv1": 0.25})


def test_a_training_writes_every_epoch_below_its_run(colours: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    records: list[EpochRecord] = []
    board, db = tmp_path / "board", tmp_path / "runs.db"
    train(colours, tmp_path / "out", tiny_recipe, runs_db=db, on_epoch=records.append, tensorboard=board)
    (run,) = list_runs(db)
    assert [path.name for path in board.iterdir()] == [run.id]
    scalars = read_back(board / run.id)
    assert list(run.epochs) == records
    for tag, name in (("loss/validation", "validation_loss"), ("accuracy/train", "train_accuracy"), ("lr", "lr")):
        assert [epoch for epoch, _ in scalars[tag]] == [1, 2, 3, 4, 5]
        assert [value for _, value in scalars[tag]] == pytest.approx([getattr(epoch, name) for epoch in run.epochs])
    assert [epoch for epoch, _ in scalars["gradient_norm/layer4"]] == [3, 4, 5]  # the head phase has none
    assert "images_per_s" in scalars


def test_a_resumed_run_is_whole_and_has_no_epoch_twice(tmp_path: Path) -> None:
    progress = TrainingProgress("ab12", {}, {})
    with tensorboard_callback(tmp_path, progress, lambda _: None) as watch:
        for epoch in (1, 2, 3):
            watch(record(epoch, 1 / epoch))
    progress.add(record(1, 1.0))
    with tensorboard_callback(tmp_path, progress, lambda _: None) as watch:
        watch(record(2, 0.25))
    assert read_back(tmp_path / "ab12")["loss/train"] == [(1, 1.0), (2, 0.25)]


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(VegrtError, match=r"file/board: cannot be written \(.*; choose another --tensorboard"),
        tensorboard_callback(tmp_path / "file/board", TrainingProgress("a", {}, {}), lambda _: None),
    ):
        pass


def test_a_missing_extra_names_the_pip_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with (
        pytest.raises(MissingExtraError, match=r"pip install 'vegrt\[tensorboard\]'"),
        tensorboard_callback(tmp_path / "board", TrainingProgress("a", {}, {}), lambda _: None),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    records: list[EpochRecord] = []
    with tensorboard_callback(None, TrainingProgress("a", {}, {}), records.append) as watch:
        watch(record(1, 1.0))
    assert records == [record(1, 1.0)]
    assert list(tmp_path.iterdir()) == []
