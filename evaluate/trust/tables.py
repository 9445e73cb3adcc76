"""trust.json as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vegrt.infer.trust.record import CandidateTrust, Trust
from vegrt.terminal.tables import make_table

if TYPE_CHECKING:
    from rich.table import Table

_HEADINGS = (
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
_NONE = "–"


def trust_table(trust: Trust) -> Table:
    """Return what was learned of every candidate as a table, with what the photos were too few for below."""
    return make_table(
        f"{trust.photos} validation photos, at most {100 * trust.max_error:g} % errors among accepted answers",
        _HEADINGS,
        [_cells(row) for row in trust.candidates],
        notes=_notes(trust),
    )


def _cells(row: CandidateTrust) -> tuple[str, ...]:
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
    notes = [
        f"{row.key}: no threshold keeps the errors below {100 * row.abstention.max_error:g} % with {row.abstention.photos} "
        f"photos; {row.abstention.photos_needed} accepted photos without an error would; every answer will be unsure"
        for row in trust.candidates
        if row.abstention.threshold is None
    ]
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
