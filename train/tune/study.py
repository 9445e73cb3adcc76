"""The Optuna study in OUT/study.db: its storage, its search space and its next trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import optuna
from optuna.exceptions import StorageInternalError
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from vegrt.backbones import find_backbone
from vegrt.errors import VegrtError, reason_of
from vegrt.files.locking import locked
from vegrt.train.loop.freeze import stage_names
from vegrt.train.recipe import ENTRIES, SCRATCH, Augment, Recipe, list_changes
from vegrt.train.start import Splits, data_facts

SPREAD = 10.0  # a rate is searched from a tenth of the recipe's value to ten times that value
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@contextmanager
def open_study(out: Path, recipe: Recipe, splits: Splits) -> Iterator[optuna.Study]:
    """Yield the study in `out`, or a new one whose first trial has the values of the recipe.

    Raises VegrtError when the study cannot be read or written, or when another process uses it. Also raises it, with a list
    of the differences, when the study has another recipe or other photos: its trials would not be comparable.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # vegrt logs the trials itself
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VegrtError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    with locked(out), _storage(out / "study.db") as storage:
        study = optuna.create_study(
            storage=storage,
            study_name="vegrt",
            direction="minimize",
            # Epochs of the head are short, and a slow start of the head does not predict the whole network.
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=recipe.epochs_head + 1),
            load_if_exists=True,
        )
        setting = _setting(recipe, splits)
        has_trials = _check_setting(study, setting, out)
        study.set_user_attr("setting", setting)
        if not has_trials:
            study.enqueue_trial({name: getattr(recipe, name) for name in searched_entries(recipe)})
        yield study


def next_trial(study: optuna.Study, seed: int) -> Trial:
    """Return the trial that was interrupted, or a new one.

    Seeds the sampler by the number of the trial, so that an interruption between trials does not change later trials.
    """
    interrupted = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    number = interrupted[0].number if interrupted else len(ended(study))
    study.sampler = TPESampler(seed=seed + number)
    return Trial(study, interrupted[0]._trial_id) if interrupted else study.ask()


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that are complete or pruned."""
    return study.get_trials(deepcopy=False, states=ENDED)


def searched_entries(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the recipe entries that are searched: those that change the result.

    A weight decay of 0 is not searched: it is the user's choice, and a logarithmic range cannot start at 0.
    """
    head = ("lr_head",) if recipe.epochs_head else ()
    whole = ("lr", "augment") if recipe.epochs else ()  # the head alone is trained without augmentation
    decay = ("weight_decay",) if recipe.weight_decay else ()
    stages = ("freeze_until",) if recipe.epochs and recipe.weights != SCRATCH else ()
    return head + whole + decay + stages


def suggest(trial: Trial, recipe: Recipe) -> dict[str, Any]:
    """Return the value of every searched entry for the trial; repeated calls return the same values."""
    choices = {
        "augment": get_args(Augment),
        "freeze_until": ("", *stage_names(find_backbone(recipe.backbone))),
    }
    values: dict[str, Any] = {}
    for name in searched_entries(recipe):
        if name in choices:
            values[name] = trial.suggest_categorical(name, choices[name])
            continue
        bounds, centre = ENTRIES[name].bounds, getattr(recipe, name)
        if bounds is None:
            raise AssertionError(f"{name}: every searched number has a range")
        low, high = bounds
        values[name] = trial.suggest_float(name, max(low, centre / SPREAD), min(high, centre * SPREAD), log=True)
    return values


@contextmanager
def _storage(db: Path) -> Iterator[optuna.storages.RDBStorage]:
    url = URL.create("sqlite", database=str(db)).render_as_string()  # escapes special characters in the path
    try:
        storage = optuna.storages.RDBStorage(url)
    except StorageInternalError as error:
        raise _not_written(db, error) from error
    except (SQLAlchemyError, RuntimeError) as error:  # RuntimeError: the schema of another Optuna version
        cause = reason_of(error)
        raise VegrtError(f"{db}: the study cannot be used ({cause}); move it away or use another --out") from error
    try:
        yield storage
    except StorageInternalError as error:
        raise _not_written(db, error) from error
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _not_written(db: Path, error: StorageInternalError) -> VegrtError:
    """Return the error of a study that Optuna could not write. Its own message guesses; SQLite's says why."""
    cause = error.__cause__
    reason = reason_of(getattr(cause, "orig", cause) or error)
    return VegrtError(
        f"{db}: cannot be written ({reason}); free some space or make it writable, then repeat the command"
    )


def _check_setting(study: optuna.Study, setting: Mapping[str, Any], out: Path) -> bool:
    """Return whether the study has trials. Raises VegrtError when it is damaged or has another setting."""
    try:
        saved_setting, has_trials = study.user_attrs.get("setting", setting), bool(study.trials)
    except (ValueError, KeyError, TypeError) as error:  # Optuna cannot read its JSON
        raise VegrtError(f"{out / 'study.db'}: damaged ({error!r:.120}); move it away or use another --out") from error
    if not isinstance(saved_setting, Mapping):
        raise VegrtError(f"{out / 'study.db'}: damaged (it has no setting); move it away or use another --out")
    if differences := list_changes(saved_setting, setting):
        raise VegrtError(
            f"{out}: cannot continue, changed since the start: {'; '.join(differences)}; "
            "undo the changes or use another --out"
        )
    return has_trials


def _setting(recipe: Recipe, splits: Splits) -> Mapping[str, Any]:
    """Return what all trials share, the recipe and the photos, as a flat dict of JSON values."""
    facts = data_facts(splits)
    counts = {f"photos of {name}/{label}": n for name, fact in facts.items() for label, n in fact.counts.items()}
    return recipe.to_dict() | counts | {f"contents of {name}": fact.fingerprint[:12] for name, fact in facts.items()}
