"""One evaluation for readers outside of a report: its verdict and its candidates, for notebooks and CI."""

from __future__ import annotations

from vegrt.evaluate.wording import gate_reason
from vegrt.report.html.blocks import Statement, Table, verdict_words
from vegrt.report.html.page import VerdictPanel
from vegrt.report.language.language import translate
from vegrt.report.summary import HEADINGS, TEXT_COLUMNS, TIMES, summary_row
from vegrt.results.evaluation import Evaluation
from vegrt.results.verdict import worst_verdict


def evaluation_verdict(evaluation: Evaluation) -> VerdictPanel:
    """Return the worst verdict of an evaluation, with the reason for each; candidates with the same reason are named together."""
    outcome = worst_verdict(row.gate.verdict for row in evaluation.candidates)
    reasons: dict[str, list[str]] = {}  # in small data sets many candidates have the same
    for row in evaluation.candidates:
        if row.gate.verdict != "REFERENCE":
            reasons.setdefault(gate_reason(evaluation, row, translate=translate), []).append(row.key)
    statements = tuple(Statement(f"{', '.join(keys)}:", f"{reason}.") for reason, keys in reasons.items())
    return VerdictPanel(verdict_words(outcome), outcome.lower(), evaluation_title(evaluation), statements)


def evaluation_title(evaluation: Evaluation) -> str:
    """Return the bundle, the photos and the margin of an evaluation."""
    name = f", {evaluation.name}" if evaluation.name not in (None, evaluation.split) else ""
    photos = f"{evaluation.images:,} {evaluation.split} photos{name}"
    return f"{evaluation.bundle.name}: {photos}, margin {evaluation.margin_points:g} points"


def candidates_table(evaluation: Evaluation) -> Table:
    """Return the accuracy of all candidates of an evaluation, the reference first."""
    headings = tuple(translate(heading) for heading in HEADINGS[: TIMES.start])
    rows = tuple(summary_row(row, row).cells()[: TIMES.start] for row in evaluation.candidates)
    return Table(translate("Accuracy, size and speed of every candidate"), headings, rows, TEXT_COLUMNS)
