"""Training runs as text and as JSON: the list, a single run with its findings, and several side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from vegrt.terminal.tables import make_table
from vegrt.train.history.explain import Finding, explain
from vegrt.train.history.mistakes import Confusion, confusions
from vegrt.train.history.records import PHASES, EpochRecord
from vegrt.train.history.runs_db import Run, RunSummary

EPOCH_HEADINGS = (
    "epoch",
    "phase",
    "training loss",
    "validation loss",
    "training %",
    "validation %",
    "lr",
    "images/s",
    "s",
)
CONFUSION_HEADINGS = ("true class", "answer", "photos", "share of the class")
MAX_CONFUSIONS = 8
NONE = "–"

_RUN_HEADINGS = (
    "run",
    "status",
    "started (UTC)",
    "backbone",
    "epochs",
    "best",
    "validation %",
    "loss",
    "images/s",
    "bundle",
)


def run_findings(run: Run) -> list[Finding]:
    """Return the findings about the run's epochs."""
    return explain(run.epochs, augmented=run.augmented, classes=len(run.explanation.classes))


def run_values(run: Run) -> dict[str, Any]:
    """Return a run as JSON values; accuracies and shares in [0, 1]."""
    return asdict(run.summary()) | {
        "recipe": run.recipe,
        "findings": [asdict(finding) for finding in run_findings(run)],
        "epoch_records": [asdict(record) for record in run.epochs],
        "confusions": [asdict(confusion) for confusion in confusions(run.explanation, MAX_CONFUSIONS)],
        "hardest": [asdict(mistake) for mistake in run.explanation.hardest],
    }


def runs_table(runs: Iterable[Run]) -> Table:
    """Return one row for each run."""
    rows = [_summary_cells(run.summary()) for run in runs]
    return make_table("", _RUN_HEADINGS, rows, text=(*_RUN_HEADINGS[:4], "bundle"))


def comparison_table(rows: Mapping[str, Sequence[Any]]) -> Table:
    """Return `vegrt.train.history.runs_db.compare_runs` as a table, one column for each run."""
    (name, ids), *properties = rows.items()
    lines = [(label, *map(_value_cell, values)) for label, values in properties]
    return make_table("", (name, *ids), lines, text=(name,))


def run_text(run: Run) -> Group:
    """Return a run's findings, its epochs and its most frequent confusions."""
    findings = [
        Text(f"{'! ' if finding.concern else '  '}{capitalized(finding.headline)}. {finding.text}")
        for finding in run_findings(run)
    ]
    parts: list[Text | Table] = [runs_table([run]), *findings]
    parts.append(make_table("", EPOCH_HEADINGS, map(epoch_cells, run.epochs), text=EPOCH_HEADINGS[:2]))
    most_frequent = confusions(run.explanation, MAX_CONFUSIONS)
    if most_frequent:
        cells = map(confusion_cells, most_frequent)
        parts.append(make_table("", CONFUSION_HEADINGS, cells, text=CONFUSION_HEADINGS[:2]))
    return Group(*parts)


def epoch_cells(record: EpochRecord) -> tuple[str, ...]:
    """Return an epoch as text, one cell for each of EPOCH_HEADINGS."""
    return (
        *(str(record.epoch), PHASES[record.phase]),
        *(f"{loss:.4f}" for loss in (record.train_loss, record.validation_loss)),
        *(f"{100 * share:.2f}" for share in (record.train_accuracy, record.validation_accuracy)),
        *(f"{record.lr:.2g}", f"{record.images_per_s:,.1f}", f"{record.seconds:.1f}"),
    )


def confusion_cells(confusion: Confusion) -> tuple[str, ...]:
    """Return a confusion as text, one cell for each of CONFUSION_HEADINGS."""
    return confusion.label, confusion.answer, f"{confusion.photos:,}", f"{confusion.share:.1%}"


def capitalized(text: str) -> str:
    """Return the text with a capital first letter."""
    return text[:1].upper() + text[1:]


def _summary_cells(summary: RunSummary) -> tuple[str, ...]:
    accuracy, loss, speed = summary.validation_accuracy, summary.validation_loss, summary.images_per_s
    return (
        *(summary.id, summary.status, summary.started[:16].replace("T", " "), str(summary.backbone or NONE)),
        *(str(summary.epochs), str(summary.best_epoch or NONE)),
        NONE if accuracy is None else f"{100 * accuracy:.2f}",
        NONE if loss is None else f"{loss:.4f}",
        NONE if speed is None else f"{speed:,.1f}",
        summary.bundle,
    )


def _value_cell(value: Any) -> str:
    return NONE if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
