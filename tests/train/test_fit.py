"""Complete trainings on a tiny data set: their results, their repeatability, and that interruptions do not change them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from vegrt.backbones import build_network
from vegrt.bundle.bundle import Bundle, find_bundles, open_bundle
from vegrt.dataset.photos import read_split
from vegrt.errors import ModelError, VegrtError
from vegrt.networks import WithPreprocessing, load_network
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image
from vegrt.train.fit import saved_recipe, train
from vegrt.train.history.records import EpochRecord
from vegrt.train.history.runs_db import load_run
from vegrt.train.loop.checkpoint import Checkpoints
from vegrt.train.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

RESUME = """
import json, sys, torch
from pathlib import Path
from vegrt.train.fit import train
from vegrt.train.recipe import Recipe
torch.set_num_threads(1)
train(Path(sys.argv[1]), Path(sys.argv[2]), Recipe(**json.loads(sys.argv[3])), resume=True)
"""


@pytest.fixture(scope="module")
def reference(colours: Path, tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("models") / "reference"
    return train(colours, out, tiny_recipe, runs_db=out.parent / "runs.db")


def assert_same_weights(first_bundle: Path, second_bundle: Path) -> None:
    first, second = load_file(first_bundle / "weights.safetensors"), load_file(second_bundle / "weights.safetensors")
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def validation_loss(bundle: Bundle, data: Path) -> float:
    """Return the loss of the weights in the bundle, computed without code of the training stage."""
    contract, split = bundle.manifest.contract, read_split(data, "validation")
    model = WithPreprocessing(load_network(bundle), contract).eval()
    pixels = torch.stack([torch.tensor(load_image(photo.path, contract)) for photo in split.photos])
    labels = torch.tensor([photo.label for photo in split.photos])
    with torch.inference_mode():
        return torch.nn.functional.cross_entropy(model(pixels), labels).item()


def test_bundle_holds_the_best_epoch_and_its_origin(reference: Bundle, colours: Path, tiny_recipe: Recipe) -> None:
    manifest, training = reference.manifest, reference.manifest.training
    assert (manifest.name, manifest.classes) == ("reference", ("Beet", "Cress", "Eggplant"))
    assert (manifest.contract.size, manifest.contract.resize) == (32, 32)
    assert manifest.model == {"backbone": "resnet18", "head": "gap"}
    split = read_split(colours, "validation")
    facts = {"photos": 12, "counts": split.counts(), "fingerprint": split.fingerprint()}
    assert manifest.data["validation"] == facts
    assert training["recipe"] == tiny_recipe.to_dict()
    assert [record["phase"] for record in training["epochs"]] == ["head"] * 2 + ["all"] * 3
    best = min(training["epochs"], key=lambda record: float(record["validation_loss"]))
    assert training["best_epoch"] == best["epoch"]
    tolerance = 1e-4 if "float32" in training["device"] else 0.05
    assert validation_loss(reference, colours) == pytest.approx(best["validation_loss"], abs=tolerance)
    assert sorted(path.name for path in reference.path.iterdir()) == ["manifest.json", "weights.safetensors"]


def test_a_stretched_input_that_is_not_square_is_trained_and_stored(
    colours: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    wide = replace(tiny_recipe, size="32x48", fit="stretch", interpolation="bicubic", epochs=1)
    bundle = train(colours, tmp_path / "wide", wide)
    contract = bundle.manifest.contract
    assert contract == Contract((32, 48), fit="stretch", interpolation="bicubic", mean=contract.mean, std=contract.std)
    assert bundle.manifest.training["recipe"] == wide.to_dict()
    assert validation_loss(bundle, colours) == pytest.approx(bundle.manifest.training["validation_loss"], abs=0.01)


def test_the_history_agrees_with_the_bundle(reference: Bundle) -> None:
    training = reference.manifest.training
    run = load_run(reference.path.parent / "runs.db", training["run"])
    assert run.status == "finished"
    assert [record.validation_loss for record in run.epochs] == [r["validation_loss"] for r in training["epochs"]]
    assert list(run.epochs[-1].gradient_norms) == ["conv1", "layer1", "layer2", "layer3", "layer4", "head"]
    confusion = run.explanation.confusion
    right = sum(confusion[label][label] for label in range(3)) / sum(map(sum, confusion))
    assert right == pytest.approx(training["validation_accuracy"])
    losses = [photo.loss for photo in run.explanation.hardest]
    assert losses == sorted(losses, reverse=True)


def test_rerun_is_bit_equal(reference: Bundle, colours: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    train(colours, tmp_path / "again", tiny_recipe)
    assert_same_weights(tmp_path / "again", reference.path)


def wait_for_epochs(out: Path, count: int, deadline_s: float = 60) -> float:
    """Return once the resume state has so many finished epochs: the seconds of the last one, 0.2 without one."""
    end = time.monotonic() + deadline_s
    while (progress := Checkpoints(out).load_progress()) is None or len(progress.epochs) < count:
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return progress.epochs[-1].seconds if progress.epochs else 0.2


def kill_after(epochs: int, command: list[str], out: Path) -> None:
    """Kill a training of two more epochs at any moment of the next one."""
    process = subprocess.Popen(command)
    time.sleep(random.uniform(0, wait_for_epochs(out, epochs)))
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_killed_runs_end_with_the_same_weights(
    reference: Bundle, colours: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-c", RESUME, str(colours), str(out), json.dumps(tiny_recipe.to_dict())]
    for epochs in (0, 3):  # in the head phase, and in the second epoch after it
        kill_after(epochs, command, out)
        assert find_bundles(tmp_path) == []
    assert saved_recipe(out) == tiny_recipe
    train(colours, out, tiny_recipe, resume=True)
    assert_same_weights(out, reference.path)


def test_ctrl_c_saves_within_the_epoch(
    reference: Bundle, colours: Path, tiny_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, db = tmp_path / "interrupted", tmp_path / "runs.db"

    def press() -> None:
        wait_for_epochs(out, 3)
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    with pytest.raises(KeyboardInterrupt):
        train(colours, out, tiny_recipe, runs_db=db)
    finger.join()
    assert "interrupted in epoch 4 after step " in caplog.text
    progress = Checkpoints(out).load_progress()
    assert progress is not None
    assert progress.sums.steps > 0
    assert load_run(db, progress.run).status == "interrupted"
    train(colours, out, tiny_recipe, resume=True, runs_db=db)
    assert_same_weights(out, reference.path)
    assert (load_run(db, progress.run).status, len(load_run(db, progress.run).epochs)) == ("finished", 5)


def test_ctrl_c_after_the_last_step_is_not_lost(
    reference: Bundle, colours: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "interrupted"

    def press(record: EpochRecord) -> None:
        if record.epoch == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(colours, out, tiny_recipe, on_epoch=press)
    assert find_bundles(tmp_path) == []
    train(colours, out, tiny_recipe, resume=True)
    assert_same_weights(out, reference.path)


def test_divergence_keeps_the_best_epoch_and_resume_refuses_another_recipe_or_data(
    colours: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    data, out = shutil.copytree(colours, tmp_path / "data"), tmp_path / "out"
    diverging = replace(tiny_recipe, epochs_head=0, epochs=12, lr=1.0, weight_decay=10.0, clip_norm=0.0, ema=0.0)
    with pytest.raises(
        ModelError, match=r"not finite at .* epoch \d .*; the weights of epoch \d are in .*best.safetensors; "
    ):
        train(data, out, diverging)
    assert find_bundles(tmp_path) == []
    assert all(value.isfinite().all() for value in load_file(Checkpoints(out).best).values())
    poison_state(out)
    with pytest.raises(ModelError, match=r"not finite at step 1 of epoch \d \(lr .*; the weights of epoch \d are in"):
        train(data, out, diverging, resume=True)

    with pytest.raises(
        VegrtError, match=r"changed since the start: lr 1.0 -> 0.1; weight_decay 10.0 -> 0.1; undo the changes"
    ):
        train(data, out, replace(diverging, lr=0.1, weight_decay=0.1), resume=True)
    (data / "train/Beet/00.jpg").unlink()
    shutil.copy(data / "test/Beet/00.jpg", data / "validation/Beet/00.jpg")
    with pytest.raises(VegrtError, match=r"photos of train/Beet 8 -> 7; contents of photos in validation; undo"):
        train(data, out, diverging, resume=True)


def poison_state(out: Path) -> None:
    """Put an infinity into the network of the resume state."""
    checkpoints = Checkpoints(out)
    tensors, progress = checkpoints.load_last(), checkpoints.load_progress()
    assert progress is not None
    tensors["network.fc.bias"][0] = float("inf")
    checkpoints.save_last(tensors, progress)


def test_resume_of_a_finished_training_is_refused(reference: Bundle, colours: Path, tiny_recipe: Recipe) -> None:
    with pytest.raises(VegrtError, match="its training is finished; omit --resume"):
        train(colours, reference.path, tiny_recipe, resume=True)
    assert open_bundle(reference.path).manifest == reference.manifest


def test_head_phase_changes_only_the_head(colours: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(build_network("mobilenet_v2", 3).state_dict(), file)
    recipe = replace(tiny_recipe, backbone="mobilenet_v2", weights=str(file), epochs=0, epochs_head=3)
    bundle = train(colours, tmp_path / "out", recipe)
    before, after = load_file(file), load_network(bundle).state_dict()
    assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == {"classifier"}
    assert validation_loss(bundle, colours) == pytest.approx(bundle.manifest.training["validation_loss"], abs=0.01)


def test_patience_ends_a_training_that_does_not_improve(colours: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    weights = build_network("resnet18", 3).state_dict()
    large = {name: tensor * 1000 for name, tensor in weights.items() if name.startswith("fc.")}
    save_file(weights | large, file)  # so large that steps of 1e-9 change nothing
    still = replace(tiny_recipe, weights=str(file), freeze_until="layer4", epochs_head=0, epochs=9, lr=1e-9, ema=0.0)
    bundle = train(colours, tmp_path / "out", replace(still, patience=2))
    assert len(bundle.manifest.training["epochs"]) == 3
    assert bundle.manifest.training["best_epoch"] == 1


def keep_only(folder: Path) -> None:
    for other in set(folder.parent.iterdir()) - {folder}:
        shutil.rmtree(other)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: shutil.rmtree(data), "no such folder; expected DATA/"),
        (lambda data: shutil.rmtree(data / "train"), "no train/ folder"),
        (lambda data: empty(data / "train/Beet"), "expected at least one in every class"),
        (lambda data: keep_only(data / "train/Beet"), "expected at least 2"),
        (lambda data: (data / "validation/Beet").rename(data / "validation/Bean"), "class Beet is missing"),
    ],
    ids=["no data", "no split", "empty class", "one class", "classes differ"],
)
def test_bad_data_is_refused_before_anything_is_written(
    spoil: Callable[[Path], object], message: str, colours: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    data = shutil.copytree(colours, tmp_path / "data")
    spoil(data)
    with pytest.raises(VegrtError, match=message) as caught:
        train(data, tmp_path / "out", tiny_recipe)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "resnet19"}, "backbone 'resnet19': unknown; expected one of resnet18"),
        ({"weights": "absent.pth"}, "no such file"),
        ({"weights": "imagenet", "freeze_until": "layer7"}, "no such stage of resnet18; expected one of conv1, layer1"),
    ],
)
def test_bad_recipes_are_refused_before_anything_is_written(
    change: dict[str, Any], message: str, colours: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        train(colours, tmp_path / "out", replace(tiny_recipe, **change))
    assert not (tmp_path / "out").exists()


def test_unwritable_place_is_refused(colours: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VegrtError, match="cannot be written"):
        train(colours, tmp_path / "file" / "out", tiny_recipe)
