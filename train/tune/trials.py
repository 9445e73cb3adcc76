"""What a study found, for people and for scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from vegrt.train.tune.study import ended

if TYPE_CHECKING:
    from rich.table import Table

ENOUGH = 20  # complete trials: with fewer, importance is computed from one or two of them
State = Literal["complete", "pruned", "diverged"]


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial. Loss and accuracy: of its best epoch, on the validation split; None when it finished no epoch.

    reason: what went wrong with a diverged trial.
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
    """The trials, best first; how much each searched key matters (sum 1, empty with too few trials); the best bundle.

    recipe: the TOML file that makes this bundle again.
    """

    trials: tuple[TrialRow, ...]
    importance: dict[str, float]
    best: Path
    recipe: Path

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self) | {"best": str(self.best), "recipe": str(self.recipe)}


def trial_rows(study: optuna.Study) -> tuple[TrialRow, ...]:
    """Return the trials that ended, best first: complete ones, then those that were stopped."""
    found = [_row(trial) for trial in ended(study)]
    return tuple(sorted(found, key=_rank))


def importance(study: optuna.Study) -> dict[str, float]:
    """Return each key's share in being among the best tenth (PED-ANOVA), largest first; empty with too few trials."""
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < ENOUGH:
        return {}
    return optuna.importance.get_param_importances(study)


def trials_table(trials: Sequence[TrialRow]) -> Table:
    """Return the trials as a table for people."""
    from rich.table import Table

    table = Table(title="trials, best first")
    names = list(dict.fromkeys(name for row in trials for name in row.values))
    for heading in ("trial", "state", *names, "loss", "accuracy %", "epochs", "seconds"):
        table.add_column(heading, justify="left" if heading in ("state", "augment", "freeze_until") else "right")
    for row in trials:
        loss = "" if row.validation_loss is None else f"{row.validation_loss:.4f}"
        accuracy = "" if row.validation_accuracy is None else f"{100 * row.validation_accuracy:.2f}"
        values = (value_text(row.values.get(name, "")) for name in names)
        table.add_row(str(row.number), row.state, *values, loss, accuracy, str(row.epochs), f"{row.seconds:.0f}")
    return table


def value_text(value: Any) -> str:
    """Return a searched value for people."""
    return f"{value:.2g}" if isinstance(value, float) else value or "-"


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
