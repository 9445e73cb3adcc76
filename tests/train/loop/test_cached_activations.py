"""Frozen stages are computed once: the same network in two parts, and trainings that read the cached activations."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vegrt.backbones import BACKBONES, build_network, contract_of
from vegrt.dataset.listing import SplitName
from vegrt.dataset.photos import read_split
from vegrt.errors import VegrtError
from vegrt.photo.preprocess import load_image
from vegrt.train.data.samples import InputTransform, Samples, decode_photos
from vegrt.train.fit import train
from vegrt.train.history.records import EpochRecord
from vegrt.train.loop.cached_activations import CachedActivations, CachedSets, cache_activations
from vegrt.train.loop.checkpoint import Checkpoints
from vegrt.train.loop.freeze import stage_names
from vegrt.train.loop.learner import Learner
from vegrt.train.loop.split_network import split_at
from vegrt.train.recipe import Augment, Recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", BACKBONES)
def test_the_two_parts_are_the_network(name: str) -> None:
    network = build_network(name, 3).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    everything = {id(parameter) for parameter in network.parameters()}
    with torch.no_grad():
        answers = network(images)
        for stage in stage_names(BACKBONES[name]):
            first, tail = split_at(network, BACKBONES[name], stage)
            activations = first(images)
            torch.testing.assert_close(tail(activations), answers, rtol=1e-4, atol=1e-4)
            frozen, learning = ({id(parameter) for parameter in part.parameters()} for part in (first, tail))
            assert not learning & frozen
            assert learning | frozen == everything
    assert activations.ndim == 2  # after the last stage: pooled
    if any(isinstance(module, torch.nn.Dropout) for module in tail.modules()):
        tail.train()
        ones = torch.ones_like(activations)
        assert not torch.equal(tail(ones.clone()), tail(ones.clone()))  # a clone: dropout works in place


@pytest.fixture(scope="module")
def frozen_recipe(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    file = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    torch.manual_seed(0)
    save_file(build_network("resnet18", 3).state_dict(), file)
    return replace(tiny_recipe, weights=str(file), freeze_until="layer3", views=3, epochs=2)


def test_reading_cached_activations_is_the_same_training(
    colours: Path, frozen_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = replace(frozen_recipe, augment="none", views=1)
    first = train(colours, tmp_path / "kept", plain)
    assert "caching activations after layer3 for 1 version(s) of each photo" in caplog.text
    computed = train(colours, tmp_path / "computed", replace(plain, views=0))
    for ours, theirs in zip(first.manifest.training["epochs"], computed.manifest.training["epochs"], strict=True):
        tolerance = 1e-3 if ours["phase"] == "head" else 0.1  # float16 rounding, which training amplifies
        assert ours["validation_loss"] == pytest.approx(theirs["validation_loss"], abs=tolerance)
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=tolerance)


def test_activations_that_do_not_fit_are_computed_at_every_step(
    colours: Path, frozen_recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    photo_bytes = 256 * 2 * 2 * 2  # 256 channels of 2x2, float16; 24 photos to train on, 12 to validate
    assert cached_sets(colours, frozen_recipe, 84 * photo_bytes).versions == 3
    assert "fit into memory" not in caplog.text
    two = cached_sets(colours, frozen_recipe, 60 * photo_bytes)
    assert (two.versions, type(two.train)) == (2, CachedActivations)
    assert "only 2 of 3 versions of each photo fit into memory" in caplog.text
    none = cached_sets(colours, frozen_recipe, 59 * photo_bytes)
    assert (none.versions, type(none.train)) == (0, Samples)
    assert "do not fit into memory; computing them at every step" in caplog.text


def test_a_resumed_training_uses_the_versions_that_it_began_with(colours: Path, frozen_recipe: Recipe) -> None:
    photo_bytes = 256 * 2 * 2 * 2
    assert cached_sets(colours, frozen_recipe, 1 << 30, decided=2).versions == 2
    assert cached_sets(colours, frozen_recipe, 1 << 30, decided=0).versions == 0
    with pytest.raises(
        VegrtError, match=r"3 cached versions of each photo need .* free some memory, then repeat with --resume"
    ):
        cached_sets(colours, frozen_recipe, 60 * photo_bytes, decided=3)


def cached_sets(data: Path, recipe: Recipe, limit_bytes: int, decided: int | None = None) -> CachedSets:
    contract = contract_of(recipe.backbone, recipe.sides)
    learner = Learner(build_network(recipe.backbone, 3), recipe, torch.device("cpu"), None)

    def samples(name: SplitName, augment: Augment) -> Samples:
        photos = decode_photos(read_split(data, name), partial(load_image, contract=contract), 1 << 30)
        return Samples(photos, InputTransform(contract, augment))

    train, validation = samples("train", recipe.augment), samples("validation", "none")
    return cache_activations(learner, train, validation, limit_bytes=limit_bytes, decided=decided)


def test_an_interruption_does_not_change_the_weights(colours: Path, frozen_recipe: Recipe, tmp_path: Path) -> None:
    def pull_the_plug(record: EpochRecord) -> None:
        if record.epoch == 3:
            raise SystemExit

    train(colours, tmp_path / "whole", frozen_recipe)
    with pytest.raises(SystemExit):
        train(colours, tmp_path / "pulled", frozen_recipe, on_epoch=pull_the_plug)
    progress = Checkpoints(tmp_path / "pulled").load_progress()
    assert progress is not None
    assert progress.cached_versions == 3
    train(colours, tmp_path / "pulled", frozen_recipe, resume=True)
    first, second = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "pulled"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
