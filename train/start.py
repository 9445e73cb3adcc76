"""Prepares a training loop from data, recipe and saved state. Rejects invalid input."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vegrt.backbones import find_backbone
from vegrt.dataset.listing import SplitName
from vegrt.dataset.photos import Split, read_splits
from vegrt.errors import VegrtError
from vegrt.photo.preprocess import load_image
from vegrt.train.contract import contract_of_recipe
from vegrt.train.data.machine_share import share_of_memory_bytes
from vegrt.train.data.samples import (
    DecodedPhotos,
    InputTransform,
    Samples,
    decode_photos,
    read_uncropped,
)
from vegrt.train.history.records import SplitRecord, TrainingProgress
from vegrt.train.history.runs_db import Recorder
from vegrt.train.loop.checkpoint import Checkpoints
from vegrt.train.loop.freeze import check_stage
from vegrt.train.loop.learner import Learner
from vegrt.train.loop.loop import EpochCallback, Loop
from vegrt.train.loop.processes import ProcessGroup
from vegrt.train.loop.weights import initial_network
from vegrt.train.qat_defaults import check_classes
from vegrt.train.recipe import SCRATCH, Recipe, list_changes

Splits = Mapping[SplitName, Split]


def read_data(data: Path, recipe: Recipe) -> dict[SplitName, Split]:
    """Return the splits. Raises VegrtError for all problems that can be detected without decoding photos."""
    check_stage(find_backbone(recipe.backbone), recipe.freeze_until)
    contract_of_recipe(recipe)
    splits = read_splits(data)
    if recipe.qat:
        check_classes(Path(recipe.qat), splits["train"].classes)
    return splits


def data_facts(splits: Splits) -> dict[str, SplitRecord]:
    """Return the counts and the fingerprint of every split."""
    return {name: SplitRecord(len(split), split.counts(), split.fingerprint()) for name, split in splits.items()}


def check_unchanged(out: Path, saved: TrainingProgress, recipe: Recipe, facts: Mapping[str, SplitRecord]) -> None:
    """Raise VegrtError, which lists the differences, if recipe or photos differ from those at the start of the run."""
    differences = list_changes(saved.recipe, recipe.to_dict())
    for name, current in facts.items():
        earlier = saved.data[name]
        if earlier.fingerprint != current.fingerprint:
            counts = [f"photos of {name}/{change}" for change in list_changes(earlier.counts, current.counts)]
            differences += counts or [f"contents of photos in {name}"]
    if differences:
        text = "; ".join(differences)
        raise VegrtError(f"{out}: cannot resume, changed since the start: {text}; undo the changes or omit --resume")


def open_loop(
    splits: Splits,
    recipe: Recipe,
    progress: TrainingProgress,
    checkpoints: Checkpoints,
    recorder: Recorder,
    processes: ProcessGroup,
    *,
    resumed: bool,
    on_epoch: EpochCallback,
) -> Loop:
    """Return the loop at its start or where it was interrupted. Saves its state, so that the run can be resumed."""
    contract = contract_of_recipe(recipe)
    limit_bytes = share_of_memory_bytes()
    training = decode_photos(splits["train"], partial(read_uncropped, contract=contract), limit_bytes)
    remaining_bytes = limit_bytes - training.cached_bytes()
    validation = decode_photos(splits["validation"], partial(load_image, contract=contract), remaining_bytes)
    loop = Loop(
        learner=_learner(recipe, training, len(splits["train"].classes), processes, resumed=resumed),
        recipe=recipe,
        classes=splits["train"].classes,
        train=Samples(training, InputTransform(contract, recipe.augment)),
        validation=Samples(validation, InputTransform(contract, "none")),
        progress=progress,
        checkpoints=checkpoints,
        recorder=recorder,
        processes=processes,
        on_epoch=on_epoch,
    )
    if resumed:
        loop.learner.restore(checkpoints.load_last())
    elif processes.is_first:
        checkpoints.start()
    processes.wait()
    if not resumed:
        loop.save(best=None)
    return loop


def _learner(
    recipe: Recipe, training: DecodedPhotos, num_classes: int, processes: ProcessGroup, *, resumed: bool
) -> Learner:
    torch.manual_seed(recipe.seed)
    weights = (
        SCRATCH if resumed else recipe.weights
    )  # a resumed run restores its own weights; the file may no longer exist
    network = initial_network(recipe.backbone, num_classes, head=recipe.head, weights=weights)
    class_weights = _class_weights(training) if recipe.class_weights else None
    prepared = processes.prepare(network, recipe.backbone)
    if recipe.qat:
        from vegrt.train.qat.learner import QatLearner  # needs the extra `export`, which other training does not need

        return QatLearner(prepared, recipe, processes.device, class_weights, processes)
    return Learner(prepared, recipe, processes.device, class_weights, processes)


def _class_weights(photos: DecodedPhotos) -> Tensor:
    """Return class weights (K,) by inverse frequency; their mean over all photos is 1."""
    counts = torch.bincount(photos.labels())
    return len(photos) / (len(counts) * counts)
