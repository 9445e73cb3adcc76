"""Searches a better recipe by trials. All state is in OUT, so the same command continues after any interruption."""

from __future__ import annotations

import logging
import math
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna
from optuna.trial import Trial, TrialState

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.entries import MANIFEST
from vegrt.bundle.overwriting import describe_bundle, measurements
from vegrt.errors import DivergedError, ModelError, VegrtError
from vegrt.files.atomic import write_text
from vegrt.train.fit import train
from vegrt.train.history.records import EpochRecord
from vegrt.train.loop.checkpoint import Checkpoints
from vegrt.train.loop.loop import StopTraining
from vegrt.train.recipe import Recipe, make_recipe
from vegrt.train.start import read_data
from vegrt.train.tune.study import ended, next_trial, open_study, suggest
from vegrt.train.tune.trials import Tuned, importance, trial_rows, value_text

log = logging.getLogger(__name__)


def tune(
    data: Path, out: Path, recipe: Recipe, *, trials: int, overwrite: bool = False, runs_db: Path | None = None
) -> Tuned:
    """Train until `trials` trials of the study in `out` have ended; return all trials and the bundle of the best one.

    The first trial has the values of `recipe`, so the result is never worse. Trials are ranked by the validation loss of
    their best epoch: accuracy changes in steps of one photo and is equal for many trials, while the loss still differs and
    also selects the epoch. DATA/test is not read.

    Writes OUT/study.db, the bundle OUT/best, and OUT/best.toml, the recipe to train that bundle again. Only the running trial
    has files in OUT/trials; other weights are deleted.
    overwrite: a better trial may replace OUT/best even if that was exported or evaluated.
    Raises VegrtError when the study has another recipe or other photos, when OUT/best may not be replaced, or when every
    trial diverged.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise VegrtError("tune: started under torchrun; start it as one process: vegrt tune ...")
    splits = read_data(data, recipe)
    with open_study(out, recipe, splits) as study:
        _check_best(study, out)
        if len(ended(study)) < trials:
            _check_replaceable(out / "best", overwrite=overwrite)
        try:
            while len(ended(study)) < trials:
                _run_trial(study, data, out, recipe, runs_db)
        except KeyboardInterrupt as error:
            note = f"after {len(ended(study))} of {trials} trials; to continue, repeat the command"
            raise KeyboardInterrupt(note) from error
        _delete_ended_trials(study, out)
        if _lowest(study) == math.inf:
            raise ModelError(f"{out}: all {trials} trials diverged; start in another --out with a lower lr")
        return Tuned(trial_rows(study), importance(study), out / "best", out / "best.toml")


def _run_trial(study: optuna.Study, data: Path, out: Path, recipe: Recipe, runs_db: Path | None) -> None:
    """Run one trial to its end. After a kill, the next call resumes it."""
    trial = next_trial(study, recipe.seed)
    _delete_ended_trials(study, out)
    values = suggest(trial, recipe)
    log.info("trial %d: %s", trial.number, ", ".join(f"{name} {value_text(value)}" for name, value in values.items()))
    try:
        bundle = _train_trial(data, out / "trials" / str(trial.number), replace(recipe, **values), trial, runs_db)
    except StopTraining:
        study.tell(trial, state=TrialState.PRUNED)
        log.info("trial %d: pruned, its loss is above the median of other trials in that epoch", trial.number)
        return
    except DivergedError as error:
        reason = str(error).partition(";")[0]  # the rest names files that tuning deletes
        trial.set_user_attr("reason", reason)
        study.tell(trial, state=TrialState.PRUNED)  # not FAIL, which the sampler ignores
        log.warning("trial %d: %s", trial.number, reason)
        return
    summary = bundle.manifest.training
    for name in ("validation_accuracy", "seconds"):
        trial.set_user_attr(name, summary[name])
    if summary["validation_loss"] < _lowest(study):
        _publish(bundle, out)
    study.tell(trial, summary["validation_loss"])
    log.info("trial %d: validation loss %.4f, lowest %.4f", trial.number, summary["validation_loss"], _lowest(study))


def _train_trial(data: Path, folder: Path, recipe: Recipe, trial: Trial, runs_db: Path | None) -> Bundle:
    if (folder / MANIFEST).is_file():  # vegrt was killed after the last epoch, before the study recorded it
        return open_bundle(folder)
    resume = Checkpoints(folder).last.is_file()
    return train(data, folder, recipe, resume=resume, runs_db=runs_db, on_epoch=partial(_report_epoch, trial))


def _report_epoch(trial: Trial, record: EpochRecord) -> None:
    """Report an epoch; raise StopTraining to prune the trial. An epoch that is repeated after a kill counts once."""
    recorded = trial.study.get_trials(deepcopy=False)[trial.number]
    if record.epoch not in recorded.intermediate_values:
        if record.validation_loss < min(recorded.intermediate_values.values(), default=math.inf):
            trial.set_user_attr("validation_accuracy", record.validation_accuracy)
        trial.set_user_attr("seconds", recorded.user_attrs.get("seconds", 0.0) + record.seconds)
        trial.report(record.validation_loss, record.epoch)
    if trial.should_prune():
        raise StopTraining


def _publish(bundle: Bundle, out: Path) -> None:
    """Replace OUT/best by a copy of the bundle, without the models and results of the previous one."""
    best = out / "best"
    with changing(best) as staging:
        shutil.copyfile(bundle.file("weights"), staging.file("weights.safetensors"))
        staging.add("weights.safetensors", "weights")
        staging.finish(replace(bundle.manifest, name=best.name, artifacts=()))
    write_text(out / "best.toml", make_recipe(**bundle.manifest.training["recipe"]).to_toml())


def _lowest(study: optuna.Study) -> float:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return min((trial.value for trial in complete if trial.value is not None), default=math.inf)


def _delete_ended_trials(study: optuna.Study, out: Path) -> None:
    """Delete the files of all trials except the running one."""
    running = {str(trial.number) for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))}
    for folder in (out / "trials").glob("*"):
        if folder.name not in running:
            shutil.rmtree(folder, ignore_errors=True)


def _check_best(study: optuna.Study, out: Path) -> None:
    if _lowest(study) < math.inf and not (out / "best" / MANIFEST).is_file():
        raise VegrtError(f"{out / 'best'}: the best bundle of the study is missing; restore it or use another --out")


def _check_replaceable(best: Path, *, overwrite: bool) -> None:
    """Raise VegrtError when a better trial would delete models or results of the best bundle so far."""
    if overwrite or not (best / MANIFEST).is_file():
        return
    if open_bundle(best, verify=False).variants() or any(measurements(best)):
        raise VegrtError(
            f"{best}: holds {describe_bundle(best)}, which a better trial would replace; copy it, then continue with --overwrite"
        )
