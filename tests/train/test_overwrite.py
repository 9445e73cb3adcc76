"""Training into an OUT that has a bundle, an unfinished training or another process; and OUT after a stopped training."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import vegrt.bundle.change
from tests.command_line import call
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import exclusive
from vegrt.errors import BundleError, VegrtError
from vegrt.files.atomic import write_json
from vegrt.results.convert import to_dict
from vegrt.results.header import header_fields
from vegrt.train.fit import train
from vegrt.train.history.records import SplitRecord, TrainingProgress
from vegrt.train.history.runs_db import load_run
from vegrt.train.loop.checkpoint import Checkpoints
from vegrt.train.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def brief(tiny_recipe: Recipe) -> Recipe:
    return replace(tiny_recipe, epochs_head=1, epochs=0, ema=0.0)


@pytest.fixture(scope="module")
def old(colours: Path, brief: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return train(colours, tmp_path_factory.mktemp("models") / "old", brief)


@pytest.fixture
def evaluated(old: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the bundle with a result, its table, a result whose model is missing, and a file not written by vegrt."""
    shutil.copytree(old.path, tmp_path / "copy")
    bundle = open_bundle(tmp_path / "copy")
    for name, sha256 in (("evaluate-test", bundle.artifact("weights").sha256), ("bench", "0" * 64)):
        body = {"candidates": [{"key": "fp32/torch", "artifact_sha256": sha256}]}
        write_json(bundle.path / f"results/{name}.json", to_dict(header_fields(bundle, name)) | body)
    for name in ("predictions-test.parquet", "notes.txt"):
        (bundle.path / "results" / name).write_text("x")
    return bundle


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_finished_bundle_and_its_results_are_replaced_only_on_request(
    evaluated: Bundle, colours: Path, brief: Recipe
) -> None:
    before, anew = content(evaluated.path), replace(brief, seed=1)
    with pytest.raises(
        VegrtError,
        match=r"copy: holds a finished bundle \(resnet18; validation accuracy [\d.]+%; not exported; evaluate test; bench\); "
        r"choose another --out, or replace it with --overwrite",
    ):
        train(colours, evaluated.path, anew)
    with pytest.raises(
        VegrtError, match="its training is finished; omit --resume and choose another --out, or replace"
    ):
        train(colours, evaluated.path, anew, resume=True)
    assert content(evaluated.path) == before
    new = train(colours, evaluated.path, anew, overwrite=True)
    assert new.manifest.training["recipe"]["seed"] == 1
    assert set(content(new.path)) == {"manifest.json", "weights.safetensors", "results/notes.txt"}


def test_old_results_and_the_old_model_are_removed_in_one_change(
    evaluated: Bundle, colours: Path, brief: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        # the change is committed, none of its files has been moved
        patch.setattr(vegrt.bundle.change, "stale_results", die)
        with pytest.raises(Killed):
            train(colours, evaluated.path, replace(brief, seed=1), overwrite=True)
    assert "evaluate-test.json" in {file.name for file in (evaluated.path / "results").iterdir()}
    with exclusive(evaluated.path):  # whoever changes the bundle next finishes that first
        assert open_bundle(evaluated.path).manifest.training["recipe"]["seed"] == 1
        assert [file.name for file in (evaluated.path / "results").iterdir()] == ["notes.txt"]


def test_an_unfinished_training_is_resumed_or_discarded_only_on_request(
    evaluated: Bundle, colours: Path, brief: Recipe, tmp_path: Path
) -> None:
    half, checkpoints = tmp_path / "half", Checkpoints(tmp_path / "half")
    facts = {name: SplitRecord(0, {}, "ab") for name in ("train", "validation", "test")}
    checkpoints.start()
    checkpoints.save_last({}, TrainingProgress("ab12", replace(brief, epochs=4).to_dict(), facts))
    shutil.copytree(checkpoints.folder, evaluated.path / ".train")  # left by an interrupted training with --overwrite
    damaged = Path(shutil.copytree(half, tmp_path / "damaged"))
    Checkpoints(damaged).last.write_bytes(b"damaged")
    for out, message in (
        (
            half,
            r"unfinished training \(run ab12, 0 of 5 epochs\); resume it with --resume, discard it with --overwrite",
        ),
        (evaluated.path, r"unfinished training \(run ab12"),
        (
            damaged,
            "damaged unfinished training, which cannot be resumed; discard it with --overwrite, or choose another --out",
        ),
    ):
        before = content(out)
        with pytest.raises(VegrtError, match=message):
            train(colours, out, brief)
        assert content(out) == before
    assert train(colours, damaged, brief, overwrite=True).manifest.training["recipe"] == brief.to_dict()


def test_out_is_locked_and_an_empty_folder_is_removed(colours: Path, brief: Recipe, tmp_path: Path) -> None:
    holder = "import sys; from pathlib import Path; from vegrt.bundle.change import exclusive\n"
    holder += "with exclusive(Path(sys.argv[1]), make=True): print(flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", holder, str(tmp_path / "m")], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(BundleError, match="another process is changing it"):
            train(colours, tmp_path / "m", brief, overwrite=True)
        process.communicate()
    with pytest.raises(VegrtError, match="no such file"):
        train(colours, tmp_path / "new", replace(brief, weights="absent.pth"))
    assert not (tmp_path / "new").exists()


def test_sigterm_to_the_whole_group_is_ctrl_c(colours: Path, brief: Recipe, tmp_path: Path) -> None:
    """As a batch system sends it: twice, also to the workers, with SIGINT ignored as for a background job of a shell."""
    out, db, file = tmp_path / "m", tmp_path / "runs.db", tmp_path / "recipe.toml"
    recipe = replace(brief, backbone="timm:test_resnet", epochs_head=0, epochs=5000, workers=1)
    file.write_text(recipe.to_toml())
    words = ["train", "--data", colours, "--out", out, "--recipe", file, "--runs", db]
    command = [sys.executable, "-m", "vegrt.cli", *map(str, words)]
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    process = subprocess.Popen(ignoring, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for_epoch(out)
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == f"vegrt: {out}: another process is changing it; wait until it has finished\n"
    for _ in range(2):
        os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    *_, saved, last = errors.splitlines()
    assert last == "vegrt: interrupted; to continue, repeat the command with --resume"
    assert "Traceback" not in errors
    assert "24 photos of 3 classes, 12 for validation; 5000 epochs of 3 steps of 8 photos" in errors
    progress = Checkpoints(out).load_progress()
    assert progress is not None
    assert f"interrupted in epoch {len(progress.epochs) + 1} after step {progress.sums.steps}, saved in" in saved
    assert progress.sums.steps > 0
    assert load_run(db, progress.run).status == "interrupted"
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no worker is left


def wait_for_epoch(out: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        progress = Checkpoints(out).load_progress()
        if progress is not None and progress.epochs:
            return
        time.sleep(0.02)
    raise AssertionError("no epoch was finished")


def test_the_command_prints_the_next_command(colours: Path, brief: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(brief.to_toml())
    words = ["train", "--data", colours, "--out", tmp_path / "my model", "--recipe", file, "--runs", tmp_path / "r.db"]
    shown = call(*words)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[-1] == f"next: vegrt export '{tmp_path / 'my model'}' --data {colours}"
    assert json.loads((tmp_path / "my model/manifest.json").read_text())["name"] == "my model"
