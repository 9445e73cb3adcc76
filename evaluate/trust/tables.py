"""What `vegrt trust` learned, and what it was worth on test photos, as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vegrt.infer.trust.record import CandidateTrust, Trust
from vegrt.results.common import Interval
from vegrt.results.evaluation import Evaluation
from vegrt.results.trust import TrustFigures
from vegrt.terminal.tables import make_table

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = (
    "candidate",
    "temperature",
    "ECE %, before",
    "after",
    "foreign score",
    "AUROC, near misses",
    "accepts from",
    "accepted %",
    "errors among them",
)
_FIGURE_HEADINGS = (
    "candidate",
    "ECE %",
    "95 % sets cover %",
    "classes in a set",
    "accepted %",
    "errors among them %",
    "AURC",
    "foreign AUROC",
    "foreign passed % at 95 % kept",
)
_NONE = "–"


def trust_table(trust: Trust) -> Table:
    """Return what was learned of every candidate as a table, with what the photos were too few for below."""
    return make_table(
        f"{trust.photos} validation photos, at most {100 * trust.max_error:g} % errors among accepted answers",
        HEADINGS,
        [trust_cells(row) for row in trust.candidates],
        notes=_notes(trust),
    )


def trust_figures_table(evaluation: Evaluation) -> Table:
    """Return what was measured of every candidate's trust as a table."""
    rows = [(row.key, row.trust) for row in evaluation.candidates if row.trust is not None]
    return make_table(
        f"When to trust it: {evaluation.images} {evaluation.split} images",
        _FIGURE_HEADINGS,
        [(key, *_figure_cells(figures)) for key, figures in rows],
        notes=[note for key, figures in rows for note in _figure_notes(key, figures)],
    )


def _figure_cells(figures: TrustFigures) -> tuple[str, ...]:
    kind = ("lac", 0.95, False)
    sets = next((rule for rule in figures.sets if (rule.method, rule.coverage, rule.by_class) == kind), None)
    own, foreign = figures.acceptance, figures.foreign
    return (
        f"{100 * figures.ece.value:.2f}",
        _percent(sets.covered) if sets else _NONE,
        f"{sets.mean_size:.2f}" if sets else _NONE,
        _percent(own.accepted),
        _percent(own.errors),
        f"{figures.aurc:.5f}",
        f"{foreign.auroc:.4f}" if foreign else _NONE,
        f"{100 * foreign.passed:.1f}" if foreign else _NONE,
    )


def _figure_notes(key: str, figures: TrustFigures) -> list[str]:
    notes = []
    if (foreign := figures.foreign) is not None:
        photos = foreign.acceptance.photos
        notes.append(f"{key}: of {photos} foreign photos {_percent(foreign.acceptance.accepted)} % are accepted")
    if (shifted := figures.shifted) is not None:
        notes.append(
            f"{key}: of {shifted.acceptance.photos} photos from elsewhere {_percent(shifted.top1)} % are right, with a mean "
            f"probability of {100 * shifted.confidence:.1f} %; {_percent(shifted.acceptance.accepted)} % are accepted, "
            f"{_percent(shifted.acceptance.errors)} % of these are wrong"
        )
    return notes


def _percent(share: Interval | None) -> str:
    return _NONE if share is None else f"{100 * share.value:.1f}"


def trust_cells(row: CandidateTrust) -> tuple[str, ...]:
    """Return what was learned of a candidate as text, one cell for each of HEADINGS."""
    rule, best = row.abstention, max((tried.auroc for tried in row.foreign.tried), default=0.0)
    is_known = rule.threshold is not None
    return (
        row.key,
        f"{row.temperature:.3f}",
        f"{100 * row.before.ece.value:.2f}",
        f"{100 * row.after.ece.value:.2f}",
        row.foreign.method,
        f"{best:.3f}",
        f"{rule.threshold:.4f}" if rule.threshold is not None else _NONE,
        f"{100 * rule.accepted / rule.photos:.1f}" if is_known else _NONE,
        f"{rule.errors} of {rule.accepted}" if is_known else _NONE,
    )


def _notes(trust: Trust) -> list[str]:
    notes = [_no_threshold(row) for row in trust.candidates if row.abstention.threshold is None]
    first = trust.candidates[0]
    too_few = {rule.coverage: rule for rule in first.sets if rule.threshold is None}
    notes += [
        f"no sets of {100 * coverage:g} % coverage: they need {rule.photos_needed} photos"
        for coverage, rule in too_few.items()
    ]
    shared = (rule for rule in first.sets if rule.threshold is not None and not rule.is_class_conditional)
    by_class = {rule.coverage: rule for rule in shared}
    notes += [
        f"sets of {100 * coverage:g} % coverage are for all classes together: for single classes they need "
        f"{rule.photos_needed} photos of each"
        for coverage, rule in by_class.items()
    ]
    return notes


def _no_threshold(row: CandidateTrust) -> str:
    """Return why a candidate accepts nothing, and the cure."""
    rule = row.abstention
    few = rule.photos < rule.photos_needed
    cure = f"{rule.photos_needed} without an error would" if few else "a larger --max-error or more photos would"
    return f"{row.key}: {rule.photos} photos cannot show errors below {100 * rule.max_error:g} %, so nothing is accepted; {cure}"
