"""Studies of a few tiny trainings: their trials, their files, and that interruptions do not change them."""

from __future__ import annotations

import errno
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import create_trial
from safetensors.torch import load_file
from typer.main import get_command

from tests.command_line import answer, call
from tests.watched_io import failing, watched
from vegrt.backbones import build_network, find_backbone
from vegrt.bundle.bundle import open_bundle
from vegrt.cli import app
from vegrt.dataset.photos import read_splits
from vegrt.errors import BundleError, ModelError, VegrtError
from vegrt.train.fit import train
from vegrt.train.history.runs_db import list_runs
from vegrt.train.loop.checkpoint import Checkpoints
from vegrt.train.loop.freeze import stage_names
from vegrt.train.recipe import Recipe, make_recipe
from vegrt.train.tune.study import open_study, searched_entries, suggest
from vegrt.train.tune.trials import MIN_TRIALS, TrialRow, Tuned, importance, trial_rows
from vegrt.train.tune.tune import tune

pytestmark = pytest.mark.usefixtures("one_thread")

TRIALS = 3


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe) -> Recipe:
    return replace(tiny_recipe, backbone="mobilenet_v2", epochs_head=1, epochs=2, ema=0.0)


@pytest.fixture(scope="module")
def tuned(colours: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    out = tmp_path_factory.mktemp("tuned") / "study"
    return tune(colours, out, recipe, trials=TRIALS, runs_db=out.parent / "runs.db")


def assert_same_weights(first_bundle: Path, second_bundle: Path) -> None:
    first, second = load_file(first_bundle / "weights.safetensors"), load_file(second_bundle / "weights.safetensors")
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def without_clock(trials: tuple[TrialRow, ...]) -> list[dict[str, Any]]:
    return [asdict(replace(row, seconds=0.0)) for row in trials]


def words(colours: Path, recipe: Recipe, out: Path) -> list[str]:
    """Return the command line of such a study."""
    file = out.parent / "recipe.toml"
    file.write_text(recipe.to_toml())
    options = {"--data": colours, "--out": out, "--recipe": file, "--trials": TRIALS, "--runs": out.parent / "runs.db"}
    return ["tune", *(str(word) for option in options.items() for word in option)]


def parsed(line: str) -> None:
    """Parse a command that was printed, without running it. Raises click's UsageError."""
    name, *options = shlex.split(line)
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, options)


def test_the_first_trial_is_the_recipe_and_out_has_the_best_bundle(tuned: Tuned, recipe: Recipe) -> None:
    assert sorted(row.number for row in tuned.trials) == [0, 1, 2]
    (first,) = (row for row in tuned.trials if row.number == 0)
    assert first.values == {name: getattr(recipe, name) for name in ("lr_head", "lr", "augment", "weight_decay")}
    losses = [row.validation_loss for row in tuned.trials if row.validation_loss is not None]
    assert losses == sorted(losses)
    assert len(set(losses)) == TRIALS
    summary = open_bundle(tuned.best).manifest.training
    assert summary["validation_loss"] == tuned.trials[0].validation_loss
    assert summary["validation_accuracy"] == tuned.trials[0].validation_accuracy
    assert {name: summary["recipe"][name] for name in first.values} == tuned.trials[0].values
    assert all(row.state == "complete" and row.epochs == 3 and row.seconds > 0 for row in tuned.trials)
    folder = tuned.best.parent
    assert list(folder.rglob("*.safetensors")) == [tuned.best / "weights.safetensors"]
    assert {path.name for path in folder.iterdir()} == {"best", "best.toml", "study.db", "trials"}


def test_best_toml_makes_the_best_bundle_again(tuned: Tuned, colours: Path, tmp_path: Path) -> None:
    train(colours, tmp_path / "again", make_recipe(tuned.recipe))
    assert_same_weights(tmp_path / "again", tuned.best)


def wait_until(condition: Callable[[], bool], deadline_s: float = 60) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def saved_epochs(folder: Path) -> int:
    progress = Checkpoints(folder).load_progress()
    return -1 if progress is None else len(progress.epochs)


def was_written_after(moment: float, file: Path) -> bool:
    with suppress(FileNotFoundError):  # a trial that ended since the folder was listed
        return file.stat().st_mtime > moment
    return False


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have SIGINT raise KeyboardInterrupt at any moment: it is ignored where a shell runs the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_killed_and_interrupted_studies_make_the_same_trials(
    tuned: Tuned, colours: Path, recipe: Recipe, tmp_path: Path
) -> None:
    out, db = tmp_path / "study", tmp_path / "runs.db"
    command = [sys.executable, "-m", "vegrt.cli", *words(colours, recipe, out)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    wait_until(lambda: saved_epochs(out / "trials/0") >= 1 or process.poll() is not None)
    time.sleep(random.uniform(0, 0.5))
    process.kill()
    assert process.wait() == -signal.SIGKILL

    start = time.time()

    def press() -> None:
        wait_until(lambda: any(was_written_after(start, file) for file in out.glob("trials/*/.train/last.safetensors")))
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    with pytest.raises(KeyboardInterrupt, match=rf"after \d of {TRIALS} trials; to continue, repeat the command"):
        tune(colours, out, recipe, trials=TRIALS, runs_db=db)
    finger.join()
    again = tune(colours, out, recipe, trials=TRIALS, runs_db=db)
    assert without_clock(again.trials) == without_clock(tuned.trials)
    assert_same_weights(again.best, tuned.best)
    assert [run.status for run in list_runs(db)] == ["finished"] * TRIALS  # gone on with, none begun anew


def test_a_trained_trial_that_the_study_did_not_record_is_not_trained_again(
    tuned: Tuned, colours: Path, recipe: Recipe, tmp_path: Path
) -> None:
    out, db = tmp_path / "study", tmp_path / "runs.db"
    out.mkdir()
    (out / "best").touch()  # in the way of the bundle
    with pytest.raises(BundleError, match="best: cannot be written"):
        tune(colours, out, recipe, trials=1)
    (out / "best").unlink()
    again = tune(colours, out, recipe, trials=1, runs_db=db)
    assert not db.exists()
    assert without_clock(again.trials) == [row for row in without_clock(tuned.trials) if row["number"] == 0]
    assert open_bundle(again.best).manifest.training["validation_loss"] == again.trials[0].validation_loss


def test_a_finished_study_is_shown_again(tuned: Tuned, colours: Path, recipe: Recipe) -> None:
    command = words(colours, recipe, tuned.best.parent)
    shown = call(*command)
    assert shown.exit_code == 0, shown.output
    best, following = (line.partition(": vegrt ") for line in shown.stdout.splitlines()[-2:])
    assert (best[0], following[0]) == (f"best: {tuned.best}; train it again", "next")
    for _, _, command_line in (best, following):  # as printed they are whole: nothing is missing, nothing unknown
        parsed(command_line)
    assert f"--recipe {tuned.recipe}" in best[2]
    body = answer(*command)
    assert body["trials"] == [asdict(row) for row in tuned.trials]
    assert (body["best"], body["importance"]) == (str(tuned.best), {})


def test_a_best_bundle_that_was_exported_is_replaced_only_with_overwrite(
    tuned: Tuned, colours: Path, recipe: Recipe, tmp_path: Path
) -> None:
    out = shutil.copytree(tuned.best.parent, tmp_path / "study")
    (out / "best/results").mkdir()
    (out / "best/results/evaluate-test.json").write_text("{}")
    assert tune(colours, out, recipe, trials=TRIALS).best == out / "best"  # nothing is left to be tried
    with pytest.raises(
        VegrtError, match=r"study/best: holds a finished bundle \(mobilenet_v2; .*; evaluate test\), which"
    ):
        tune(colours, out, recipe, trials=TRIALS + 1)
    assert len(tune(colours, out, recipe, trials=TRIALS + 1, overwrite=True).trials) == TRIALS + 1


def test_a_study_with_another_recipe_or_other_photos_is_refused(
    tuned: Tuned, colours: Path, recipe: Recipe, tmp_path: Path
) -> None:
    data, folder = shutil.copytree(colours, tmp_path / "data"), tuned.best.parent
    (data / "train/Beet/00.jpg").unlink()
    with pytest.raises(
        VegrtError,
        match=r"changed since the start: backbone mobilenet_v2 -> resnet50; contents of train \w+ -> \w+; "
        r"photos of train/Beet 8 -> 7; undo the changes or use another --out",
    ):
        tune(data, folder, replace(recipe, backbone="resnet50", workers=3), trials=9)
    shutil.copytree(folder, tmp_path / "study", ignore=shutil.ignore_patterns("best"))
    with pytest.raises(VegrtError, match="best bundle of the study is missing; restore it"):
        tune(colours, tmp_path / "study", recipe, trials=9)


def test_a_bad_trial_is_pruned_and_its_weights_are_deleted(
    tuned: Tuned, colours: Path, recipe: Recipe, tmp_path: Path
) -> None:
    out = shutil.copytree(tuned.best.parent, tmp_path / "study")
    with open_study(out, recipe, read_splits(colours)) as study:
        for _ in range(5):  # trials that were perfect in the same epochs
            study.add_trial(create_trial(value=99.0, intermediate_values={1: 0.0, 2: 0.0, 3: 0.0}))
    again = tune(colours, out, recipe, trials=TRIALS + 5 + 1, runs_db=tmp_path / "runs.db")
    row = again.trials[-1]
    assert (row.number, row.state, row.epochs, row.reason) == (8, "pruned", 2, "")
    assert row.validation_accuracy is not None
    assert row.seconds > 0
    assert [run.status for run in list_runs(tmp_path / "runs.db")] == ["pruned"]
    assert list(out.rglob("*.safetensors")) == [out / "best/weights.safetensors"]
    assert_same_weights(again.best, tuned.best)


def test_diverged_trials_have_a_reason_and_the_study_continues(colours: Path, recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    weights = build_network("mobilenet_v2", 3).state_dict()
    torch.save(weights | {"classifier.1.bias": torch.tensor([3e38, -3e38, 0])}, file)  # the loss is infinite
    diverging = replace(recipe, weights=str(file), epochs_head=0)
    with pytest.raises(ModelError, match="all 2 trials diverged"):
        tune(colours, tmp_path / "study", diverging, trials=2)
    with open_study(tmp_path / "study", diverging, read_splits(colours)) as study:
        rows = trial_rows(study)
    assert [(row.number, row.state, row.epochs, row.validation_loss) for row in rows] == [
        (number, "diverged", 0, None) for number in range(2)
    ]
    assert {row.reason.partition(" (")[0] for row in rows} == {"loss or gradient is not finite at step 1 of epoch 1"}
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_recipe_that_cannot_be_trained_is_an_error_not_a_diverged_trial(
    colours: Path, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="no such file"):
        tune(colours, tmp_path / "study", replace(recipe, weights="absent.pth"), trials=2)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({}, set()),
        ({"weights": "none"}, {"freeze_until"}),
        ({"weight_decay": 0.0}, {"weight_decay"}),
        ({"epochs_head": 0}, {"lr_head"}),
        ({"epochs": 0}, {"lr", "augment", "freeze_until"}),
    ],
)
def test_only_entries_that_change_the_result_are_searched(change: dict[str, Any], missing: set[str]) -> None:
    everything = {"lr", "lr_head", "weight_decay", "augment", "freeze_until"}
    assert set(searched_entries(replace(Recipe(), **change))) == everything - missing


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2"])
def test_every_suggestion_is_a_recipe(backbone: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    recipe = Recipe(backbone=backbone, lr=5.0)
    for _ in range(30):
        values = suggest(study.ask(), recipe)
        replace(recipe, **values)
    suggested = {trial.params["freeze_until"] for trial in study.trials}
    assert suggested == {"", *stage_names(find_backbone(backbone))}


def test_importance_is_given_once_there_are_enough_trials() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(MIN_TRIALS):
        assert (number == 0) or importance(study) == {}
        trial = study.ask()
        rate, _ = trial.suggest_float("lr", 1e-4, 1e-2, log=True), trial.suggest_categorical("augment", ["a", "b"])
        study.tell(trial, rate)
    shares = importance(study)
    assert list(shares) == ["lr", "augment"]
    assert sum(shares.values()) == pytest.approx(1)


def test_a_second_process_cannot_use_the_study(colours: Path, recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "a study?#%41"
    with open_study(out, recipe, read_splits(colours)), ThreadPoolExecutor(1) as executor:
        second = executor.submit(
            tune, colours, out, recipe, trials=1
        )  # a thread is as strange to the lock as a process
        assert isinstance(second.exception(), BundleError)
        assert "another process" in str(second.exception())
    assert not (out / "trials").exists()
    assert (tmp_path / "a study?#%41/study.db").is_file()


def test_a_failing_operation_of_opening_a_study_is_one_line(colours: Path, recipe: Recipe, tmp_path: Path) -> None:
    splits, errors = read_splits(colours), list[str]()
    for number in range(1, 100, 3):
        before, operations = failing(number, errno.EIO)
        try:
            with watched(before, [tmp_path]), open_study(tmp_path / str(number), recipe, splits):
                pass
        except VegrtError as error:
            errors.append(str(error))
        if len(operations) < number:
            break
    assert len(errors) > 5
    assert all(line.startswith(str(tmp_path)) and "\n" not in line for line in errors)
    assert (
        sum("study.db: cannot be written (disk I/O error);" in line for line in errors) > 1
    )  # SQLite's reason, not Optuna's
    with open_study(tmp_path / "1", recipe, splits) as study:
        assert len(study.trials) == 1


def test_places_that_cannot_hold_a_study_are_refused(colours: Path, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VegrtError, match="cannot be written"):
        tune(colours, tmp_path / "file/study", recipe, trials=1)
    (tmp_path / "study.db").write_text("this is no database, but long enough to be read as one" * 20)
    with pytest.raises(VegrtError, match=r"study.db: the study cannot be used \(.*\); move it away") as caught:
        tune(colours, tmp_path, recipe, trials=1)
    assert "\n" not in str(caught.value)
