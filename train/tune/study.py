"""The one file that knows Optuna's storage: a study in OUT/study.db, what it searches, and which trial is next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import optuna
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from vegrt.backbones import find_backbone
from vegrt.errors import VegrtError
from vegrt.files.locking import locked
from vegrt.train.loop.freeze import stage_names
from vegrt.train.recipe import ENTRIES, SCRATCH, Augment, Recipe, list_changes
from vegrt.train.start import Splits, data_facts

SPREAD = 10.0  # a rate is searched from a tenth of the recipe's to ten times it
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@contextmanager
def open_study(out: Path, recipe: Recipe, splits: Splits) -> Iterator[optuna.Study]:
    """Yield the study of `out`, a new one with the recipe's own values as its first trial, or the one begun there.

    Raises VegrtError when it cannot be read or written, when another process works on it, and, listing what differs,
    when the one begun there was about another recipe or other photos: its trials would not compare.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # what it has to tell, we tell
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VegrtError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    with locked(out), _storage(out / "study.db") as storage:
        study = optuna.create_study(
            storage=storage,
            study_name="vegrt",
            direction="minimize",
            # The head's epochs cost little, and a slow start of the head says little about the whole network.
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=recipe.epochs_head + 1),
            load_if_exists=True,
        )
        now = _setting(recipe, splits)
        try:
            before, begun = study.user_attrs.get("setting", now), bool(study.trials)
        except (ValueError, KeyError, TypeError) as error:  # JSON in it that Optuna cannot read
            raise VegrtError(
                f"{out / 'study.db'}: damaged ({error!r:.120}); move it away or use another --out"
            ) from error
        if not isinstance(before, Mapping):
            raise VegrtError(f"{out / 'study.db'}: damaged (no setting in it); move it away or use another --out")
        if differences := list_changes(before, now):
            raise VegrtError(
                f"{out}: cannot continue, changed since the start: {'; '.join(differences)}; "
                "undo the changes or use another --out"
            )
        study.set_user_attr("setting", now)
        if not begun:
            study.enqueue_trial({name: getattr(recipe, name) for name in searched_entries(recipe)})
        yield study


def next_trial(study: optuna.Study, seed: int) -> Trial:
    """Return the trial that was interrupted, or a new one.

    Its sampler is seeded by its number, so that an interruption between trials does not change what comes after.
    """
    interrupted = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    number = interrupted[0].number if interrupted else len(ended(study))
    study.sampler = TPESampler(seed=seed + number)
    return Trial(study, interrupted[0]._trial_id) if interrupted else study.ask()


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that are complete or pruned."""
    return study.get_trials(deepcopy=False, states=ENDED)


def searched_entries(recipe: Recipe) -> tuple[str, ...]:
    """Return the recipe's keys that are searched: those that change its result.

    A weight decay of 0 stays: it is a decision, and no logarithmic range starts there.
    """
    head = ("lr_head",) if recipe.epochs_head else ()
    whole = ("lr", "augment") if recipe.epochs else ()  # the head alone sees features of photos as they are
    decay = ("weight_decay",) if recipe.weight_decay else ()
    stages = ("freeze_until",) if recipe.epochs and recipe.weights != SCRATCH else ()
    return head + whole + decay + stages


def suggest(trial: Trial, recipe: Recipe) -> dict[str, Any]:
    """Return the trial's value of every searched key; asked again, the same ones."""
    choices = {
        "augment": get_args(Augment),
        "freeze_until": ("", *stage_names(find_backbone(recipe.backbone))),
    }
    values: dict[str, Any] = {}
    for name in searched_entries(recipe):
        if name in choices:
            values[name] = trial.suggest_categorical(name, choices[name])
            continue
        bounds, middle = ENTRIES[name].bounds, getattr(recipe, name)
        if bounds is None:
            raise AssertionError(f"{name}: every searched number has a range")
        low, high = bounds
        values[name] = trial.suggest_float(name, max(low, middle / SPREAD), min(high, middle * SPREAD), log=True)
    return values


@contextmanager
def _storage(db: Path) -> Iterator[optuna.storages.RDBStorage]:
    url = URL.create("sqlite", database=str(db)).render_as_string()  # a folder's name may have any character
    try:
        storage = optuna.storages.RDBStorage(url)
    except (SQLAlchemyError, RuntimeError) as error:  # RuntimeError: of another Optuna's schema
        cause = str(error).splitlines()[0]
        raise VegrtError(f"{db}: study cannot be used ({cause}); move it away or use another --out") from error
    try:
        yield storage
    except optuna.exceptions.StorageInternalError as error:
        raise VegrtError(
            f"{db}: cannot be written ({error}); free some space or make it writable, then repeat"
        ) from error
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _setting(recipe: Recipe, splits: Splits) -> Mapping[str, Any]:
    """Return what all trials have in common, flat, as JSON values."""
    facts = data_facts(splits)
    counts = {f"photos of {name}/{label}": n for name, fact in facts.items() for label, n in fact.counts.items()}
    return recipe.to_dict() | counts | {f"contents of {name}": fact.fingerprint[:12] for name, fact in facts.items()}
