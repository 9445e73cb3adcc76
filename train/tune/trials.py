"""The results of a study, as text and as JSON values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from vegrt.terminal.tables import make_table
from vegrt.train.tune.study import ended

if TYPE_CHECKING:
    from rich.table import Table

MIN_TRIALS = 20  # complete trials for an importance; with fewer, it depends on only one or two of them
State = Literal["complete", "pruned", "diverged"]


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial. Loss and accuracy: of its best epoch, on the validation split; None when it finished no epoch.

    reason: why a diverged trial failed.
    """

    number: int
    state: State
    values: dict[str, Any]
    validation_loss: float | None
    validation_accuracy: float | None
    epochs: int
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Tuned:
    """The result of tuning. trials: best first. importance: of each searched entry, sum 1; empty with too few trials.

    best: the best bundle. recipe: the TOML file to train that bundle again.
    """

    trials: tuple[TrialRow, ...]
    importance: dict[str, float]
    best: Path
    recipe: Path

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self) | {"best": str(self.best), "recipe": str(self.recipe)}


def trial_rows(study: optuna.Study) -> tuple[TrialRow, ...]:
    """Return the trials that ended, best first: complete trials before pruned and diverged ones."""
    return tuple(sorted(map(_row, ended(study)), key=_rank))


def importance(study: optuna.Study) -> dict[str, float]:
    """Return the importance of each entry for being in the best tenth (PED-ANOVA), largest first; empty with too few trials."""
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < MIN_TRIALS:
        return {}
    return optuna.importance.get_param_importances(study)


def trials_table(trials: Sequence[TrialRow]) -> Table:
    """Return the trials as a table for the terminal."""
    names = list(dict.fromkeys(name for row in trials for name in row.values))
    headings = ("trial", "state", *names, "loss", "accuracy %", "epochs", "seconds")
    rows = [_cells(row, names) for row in trials]
    return make_table("trials, best first", headings, rows, text=("state", "augment", "freeze_until"))


def value_text(value: Any) -> str:
    """Return a searched value as text."""
    return f"{value:.2g}" if isinstance(value, float) else value or "-"


def _cells(row: TrialRow, names: Sequence[str]) -> list[str]:
    loss = "" if row.validation_loss is None else f"{row.validation_loss:.4f}"
    accuracy = "" if row.validation_accuracy is None else f"{100 * row.validation_accuracy:.2f}"
    values = (value_text(row.values.get(name, "")) for name in names)
    return [str(row.number), row.state, *values, loss, accuracy, str(row.epochs), f"{row.seconds:.0f}"]


def _row(trial: FrozenTrial) -> TrialRow:
    reason = trial.user_attrs.get("reason", "")
    stopped: State = "diverged" if reason else "pruned"
    return TrialRow(
        number=trial.number,
        state="complete" if trial.state == TrialState.COMPLETE else stopped,
        values=trial.params,
        validation_loss=min(trial.intermediate_values.values(), default=None),
        validation_accuracy=trial.user_attrs.get("validation_accuracy"),
        epochs=len(trial.intermediate_values),
        seconds=trial.user_attrs.get("seconds", 0.0),
        reason=reason,
    )


def _rank(row: TrialRow) -> tuple[bool, float]:
    return row.state != "complete", math.inf if row.validation_loss is None else row.validation_loss
