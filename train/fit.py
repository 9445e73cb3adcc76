"""Trains a network and writes its bundle: first the head on frozen features, then all layers. Resumable at any time."""

from __future__ import annotations

import logging
import math
import platform
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from vegrt.backbones import find_backbone
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing, exclusive
from vegrt.bundle.manifest import Manifest
from vegrt.errors import BundleError, DivergedError
from vegrt.terminal.progress import track
from vegrt.train.contract import contract_of_recipe
from vegrt.train.data.loader import BatchLoader, ordered_batches
from vegrt.train.data.machine_share import share_of_memory_bytes
from vegrt.train.data.samples import Samples
from vegrt.train.history.records import TrainingProgress
from vegrt.train.history.runs_db import Recorder
from vegrt.train.loop.cached_activations import cache_activations
from vegrt.train.loop.checkpoint import Checkpoints, resumable_progress
from vegrt.train.loop.device import device_name, tuned_cudnn
from vegrt.train.loop.head import Features, Head, compute_features, train_head
from vegrt.train.loop.loop import VALIDATION_BATCH, EpochCallback, Loop, StopTraining
from vegrt.train.loop.processes import ProcessGroup, join_process_group
from vegrt.train.loop.tensorboard import tensorboard_callback
from vegrt.train.loop.transfer import on_device
from vegrt.train.recipe import Recipe, make_recipe
from vegrt.train.start import check_unchanged, data_facts, open_loop, read_data

log = logging.getLogger(__name__)


def train(
    data: Path,
    out: Path,
    recipe: Recipe,
    *,
    resume: bool = False,
    overwrite: bool = False,
    runs_db: Path | None = None,
    on_epoch: EpochCallback = lambda record: None,
    tensorboard: Path | None = None,
) -> Bundle:
    """Train on DATA/train, choose the epoch by DATA/validation, write the bundle `out` and return it.

    The bundle appears when the training is finished. Until then OUT/.train holds its state, and OUT is locked.
    resume: continue from that state; on a CPU the weights will be the same as without the interruption.
    overwrite: discard an unfinished training in OUT; at the end replace the bundle in OUT with its models and results.
    runs_db: SQLite file that records every epoch when it is finished.
    on_epoch: called with every finished epoch, before it is saved; it may raise StopTraining to end the training.
    tensorboard: folder for the scalars of every epoch, in a subfolder with the id of the run.
    Raises VegrtError when OUT holds a bundle or an unfinished training and neither `resume` nor `overwrite` applies, or when
    another process uses OUT.
    """
    splits = read_data(data, recipe)
    checkpoints = Checkpoints(out)
    processes = join_process_group(recipe.batch_size)
    with _locked(out, processes):
        saved = resumable_progress(checkpoints, resume=resume, overwrite=overwrite)
        processes.wait()  # all processes must read the state before the first one replaces it
        facts = data_facts(splits)
        if saved is not None:
            check_unchanged(out, saved, recipe, facts)
        progress = saved or TrainingProgress(secrets.token_hex(4), recipe.to_dict(), facts)
        recorder = Recorder(runs_db if processes.is_first else None, progress.run)
        with (
            tuned_cudnn(processes.device, exact=bool(recipe.qat)),
            tensorboard_callback(tensorboard if processes.is_first else None, progress, on_epoch) as callback,
        ):
            loop = open_loop(
                splits, recipe, progress, checkpoints, recorder, processes, resumed=saved is not None, on_epoch=callback
            )
            return _run_recorded(loop, data)


def saved_recipe(out: Path) -> Recipe | None:
    """Return the recipe of the unfinished training in `out`; None without one."""
    saved = Checkpoints(out).load_progress()
    return None if saved is None else make_recipe(**saved.recipe)


@contextmanager
def _locked(out: Path, processes: ProcessGroup) -> Iterator[None]:
    """Lock OUT, in the first process only. Removes a new folder that stays empty."""
    if not processes.is_first:
        yield
        return
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    try:
        with exclusive(out):
            yield
    finally:
        if is_new:
            with suppress(OSError):  # raised when it is not empty
                out.rmdir()


def _run_recorded(loop: Loop, data: Path) -> Bundle:
    """Run the training and record its start and end."""
    try:
        loop.recorder.start(loop.recipe.to_dict(), data=data, bundle=loop.checkpoints.out)
        log.info("%s", loop.outlook())
        bundle = _run(loop)
    except StopTraining:
        loop.recorder.end("pruned")
        raise
    except BaseException as error:
        loop.recorder.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    loop.recorder.end("finished")
    return bundle


def _run(loop: Loop) -> Bundle:
    if loop.recipe.freeze_until and loop.recipe.views:
        loop = _with_cached_activations(loop)
    if loop.recipe.epochs_head and not loop.progress.epochs:
        _train_head(loop)
    loop.learner.connect()
    loop.run()
    if loop.processes.is_first:
        _write_bundle(loop)
    loop.processes.wait()
    return open_bundle(loop.checkpoints.out)


def _with_cached_activations(loop: Loop) -> Loop:
    sets = cache_activations(
        loop.learner,
        loop.train,
        loop.validation,
        limit_bytes=share_of_memory_bytes(),
        decided=loop.progress.cached_versions,
    )
    loop.progress.cached_versions = sets.versions
    return replace(loop, train=sets.train, validation=sets.validation)


def _train_head(loop: Loop) -> None:
    learner, best = loop.learner, None
    layers = [learner.network.get_submodule(name) for name in find_backbone(loop.recipe.backbone).heads]
    train = _features(loop, layers, "train", loop.train.plain())
    validation = _features(loop, layers, "validation", loop.validation)
    head = Head(layers, train.shapes)
    for record, result in train_head(head, loop.recipe, train, validation, learner.class_weights):
        if not math.isfinite(record.train_loss + record.validation_loss):
            raise DivergedError(f"loss is not finite in epoch {record.epoch} of the head (lr_head {record.lr:.2g})")
        best = result if loop.add(record) else best
    learner.restart_average()
    loop.save(best=best)


def _features(loop: Loop, layers: Sequence[nn.Module], name: str, samples: Samples) -> Features:
    learner, count = loop.learner, len(samples.photos)
    batches = ordered_batches(count, VALIDATION_BATCH)
    loaded = on_device(BatchLoader(samples, loop.recipe.workers, learner.device).load(batches), learner.device)
    return compute_features(
        learner.model, layers, track(loaded, f"features of {name}", len(batches)), count, learner.device
    )


def _write_bundle(loop: Loop) -> None:
    recipe, out = loop.recipe, loop.checkpoints.out
    manifest = Manifest(
        name=out.resolve().name,
        classes=loop.classes,
        contract=contract_of_recipe(recipe),
        model={"backbone": recipe.backbone, "head": recipe.head},
        data=loop.progress.to_dict()["data"],
        training=_summary(loop),
        tools={"torch": torch.__version__, "torchvision": torchvision.__version__, "python": platform.python_version()},
    )
    with changing(out) as staging:
        shutil.copyfile(loop.checkpoints.best, staging.file("weights.safetensors"))
        staging.add("weights.safetensors", "weights")
        staging.finish(manifest)
    loop.checkpoints.remove()


def _summary(loop: Loop) -> dict[str, Any]:
    progress = loop.progress
    return {
        "run": progress.run,
        "recipe": progress.recipe,
        "device": device_name(loop.learner.device),
        "best_epoch": progress.best_epoch,
        "validation_loss": progress.best_loss,
        "validation_accuracy": progress.epochs[progress.best_epoch - 1].validation_accuracy,
        "seconds": sum(record.seconds for record in progress.epochs),
        "unreadable": {"train": loop.train.photos.unreadable, "validation": loop.validation.photos.unreadable},
        "cached_versions": progress.cached_versions or 0,
        "epochs": progress.to_dict()["epochs"],
    }
