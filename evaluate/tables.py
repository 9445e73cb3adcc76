"""Evaluations and robustness results as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vegrt.evaluate.wording import (
    answers_words,
    extra_drop_sentence,
    gate_reason,
    not_run_cause,
    stated_speed_words,
)
from vegrt.results.analysis import Robustness, RobustnessRow
from vegrt.results.common import Interval
from vegrt.results.evaluation import CandidateResult, Evaluation
from vegrt.terminal.tables import make_table

if TYPE_CHECKING:
    from rich.table import Table

_HEADINGS = ("candidate", "top-1 %", "drop, points (95 %)", "flips", "McNemar p", "NLL", "ECE %", "gate")
NONE = "–"
_MAX_CLASSES_NAMED = 10  # of each candidate
_SIGNIFICANT = 0.05  # p-value, corrected over the classes, below which a class is named


def evaluation_table(evaluation: Evaluation) -> Table:
    """Return an evaluation as a table, with the reasons of its verdicts below."""
    readable, unreadable = evaluation.images, len(evaluation.unreadable)
    total = f"{readable} of {readable + unreadable}" if unreadable else f"{readable}"
    auto = " (auto: the smallest that this number can decide)" if evaluation.margin_auto else ""
    leaked = [f"top-1 % without {evaluation.leaked} leaked"] if evaluation.leaked else []
    return make_table(
        f"{total} {evaluation.split} images, margin {evaluation.margin_points:g} points{auto}",
        (*_HEADINGS, *leaked),
        [
            (*_cells(row), *([percent_span(row.without_leaks.top1)] if leaked and row.without_leaks else []))
            for row in evaluation.candidates
        ],
        notes=_notes(evaluation),
    )


def percent_span(interval: Interval) -> str:
    """Return a proportion and its interval in percent."""
    return f"{100 * interval.value:.2f} ({100 * interval.low:.2f} to {100 * interval.high:.2f})"


def points_span(interval: Interval) -> str:
    """Return a drop and its interval in percentage points."""
    return f"{100 * interval.value:+.2f} ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"


def robustness_table(robustness: Robustness) -> Table:
    """Return a robustness result as a table: one row for each corruption and level, one column for each candidate."""
    reference, *others = [row.key for row in robustness.candidates]
    cells: dict[tuple[str, int], dict[str, RobustnessRow]] = {}
    for row in robustness.rows:
        cells.setdefault((row.corruption, row.level), {})[row.candidate] = row
    rows = []
    for (name, level), by_key in cells.items():
        own = by_key[reference]
        parameter = "" if own.parameter is None else f"{own.parameter:g}"
        drops = [points_span(drop) for key in others if (drop := by_key[key].drop) is not None]
        rows.append((name, str(level), parameter, f"{100 * own.top1.value:.2f}", *drops))
    return make_table(
        f"{robustness.images} {robustness.split} images; drop of int8 against fp32, points (95 %)",
        ("corruption", "level", "parameter", f"{reference} top-1 %", *others),
        rows,
        notes=[extra_drop_sentence(extra, robustness.confidence) for extra in robustness.summary],
        section_ends=[number for number, (_, level) in enumerate(cells) if level == 5],
    )


def _cells(row: CandidateResult) -> tuple[str, ...]:
    return (
        row.key,
        percent_span(row.top1),
        points_span(row.paired.drop),
        str(row.paired.flips),
        f"{row.paired.mcnemar_p:.3f}",
        NONE if row.nll is None else f"{_value(row.nll):.4f}",
        NONE if row.ece is None else f"{100 * _value(row.ece):.2f}",
        row.gate.verdict,
    )


def _value(figure: Interval | float) -> float:
    return figure.value if isinstance(figure, Interval) else figure


def _notes(evaluation: Evaluation) -> list[str]:
    """Return what the table's numbers do not show: reasons of verdicts, classes that lost, the detectable drop."""
    reasons: dict[str, list[str]] = {}  # in small data sets many candidates have the same
    for row in evaluation.candidates:
        if row.gate.verdict in ("FAIL", "INCONCLUSIVE") or row.gate.causes:
            reasons.setdefault(gate_reason(evaluation, row), []).append(row.key)
    notes = [f"{', '.join(keys)}: {reason}" for reason, keys in reasons.items()]
    for row in evaluation.candidates:
        if row.answers is not None:
            speed = f"; {stated_speed_words(row.answers.speed)}" if row.answers.speed else ""
            notes.append(f"{row.key}: {answers_words(row.answers)}{speed}")
    for row in evaluation.candidates:
        lines = [
            f"{row.key}: {name} {points_span(change.drop)} points, p {change.p_holm:.3f} (Holm)"
            for name, change in zip(evaluation.classes, row.paired.classes or (), strict=False)
            if change.drop is not None and change.p_holm is not None and change.p_holm < _SIGNIFICANT
        ]
        notes += lines[:_MAX_CLASSES_NAMED]
        if len(lines) > _MAX_CLASSES_NAMED:
            notes.append(f"{row.key}: and {len(lines) - _MAX_CLASSES_NAMED} more classes")
    if len(evaluation.candidates) == 1:
        notes.append("Nothing was judged: only the reference was run.")
    if not any(row.is_answers for row in evaluation.candidates[1:2]):  # else a device is judged, and no other artifact
        notes += [f"{missing.artifact} was not run: {not_run_cause(missing)}" for missing in evaluation.not_run]
    drops = [row.paired.detectable_drop for row in evaluation.candidates[1:]]
    if detectable := [drop for drop in drops if drop is not None]:
        largest = 100 * max(detectable)
        notes.append(f"This number of images shows a drop of {largest:.2f} points with 80 % power (McNemar, 5 %).")
    return notes
