"""The section on when to trust the answers: what `vegrt trust` learned, measured on test photos and on others."""

from __future__ import annotations

from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Chart, Section, Table, Text, charts_of, section_of, table_of
from vegrt.report.language.language import translate
from vegrt.report.summary import NONE, SummaryRow
from vegrt.results.common import Interval
from vegrt.results.evaluation import CandidateResult
from vegrt.results.trust import SetFigures, TrustFigures

_COVERAGE = 0.95  # of the sets in the table


def trust_section(facts: Facts, chosen: SummaryRow | None, chart: Chart | None) -> Section | None:
    """Return what is accepted and how often it is wrong; nothing unless a candidate's trust was evaluated."""
    rows = [row for row in facts.evaluated() if row.trust is not None]
    if not rows:
        return None
    shown = next((row for row in rows if chosen and row.key == chosen.key), rows[0])
    return section_of(
        "trust",
        translate("When to trust it"),
        *[Text(sentence) for sentence in _sentences(shown)],
        charts_of(chart),
        _table(rows),
        Text(_notes(), note=True),
    )


def _sentences(row: CandidateResult) -> list[str]:
    """Return what a decision needs to know of a candidate."""
    figures = row.trust
    assert figures is not None, "only such rows are shown"
    sentences = [_accepted_sentence(row.key, figures)]
    if (foreign := figures.foreign) is not None:
        photos, accepted = f"{foreign.acceptance.photos:,}", f"{foreign.acceptance.accepted_photos:,}"
        text = translate(
            "Of {photos} photos of foreign objects it accepts {accepted}.", photos=photos, accepted=accepted
        )
        sentences.append(text)
    if (shifted := figures.shifted) is not None:
        text = translate(
            "Of {photos} photos from elsewhere {right} are answered right; it accepts {accepted}, and {errors} of these are "
            "wrong.",
            photos=f"{shifted.acceptance.photos:,}",
            right=_share(shifted.top1),
            accepted=f"{shifted.acceptance.accepted_photos:,}",
            errors=f"{shifted.acceptance.wrong_photos:,}",
        )
        sentences.append(text)
    return sentences


def _accepted_sentence(key: str, figures: TrustFigures) -> str:
    own = figures.acceptance
    photos, limit = f"{own.photos:,}", f"{100 * figures.max_error:g} %"
    if own.errors is None:
        return translate(
            "{key} accepts none of {photos} test photos: by the validation photos, no answer is sure enough to keep errors "
            "within {limit}.",
            key=key,
            photos=photos,
            limit=limit,
        )
    return translate(
        "{key} accepts {accepted} of {photos} test photos, and {errors} of the accepted answers are wrong (limit: {limit}). "
        "The others go to a person.",
        key=key,
        accepted=_share(own.accepted),
        photos=photos,
        errors=_share(own.errors),
        limit=limit,
    )


def _table(rows: list[CandidateResult]) -> Table | None:
    headings = (
        translate("candidate"),
        translate("temperature"),
        translate("ECE after it, %"),
        translate("accepted %"),
        translate("errors among them, %"),
        translate("95 % sets cover, %"),
        translate("classes in a set"),
        "AURC",
        translate("foreign: AUROC"),
        translate("foreign: passed at 95 % kept, %"),
    )
    lines = [(row.key, *_cells(row.trust)) for row in rows if row.trust is not None]
    return table_of(translate("Trust of each candidate"), headings, lines, text_columns=1)


def _cells(figures: TrustFigures) -> tuple[str, ...]:
    sets = next((rule for rule in figures.sets if _is_shown(rule)), None)
    own, foreign = figures.acceptance, figures.foreign
    return (
        f"{figures.temperature:.3f}",
        _percent(figures.ece),
        _percent(own.accepted),
        _percent(own.errors),
        _percent(sets.covered) if sets else NONE,
        f"{sets.mean_size:.2f}" if sets else NONE,
        f"{figures.aurc:.5f}",
        f"{foreign.auroc:.4f}" if foreign else NONE,
        f"{100 * foreign.passed:.1f}" if foreign else NONE,
    )


def _is_shown(rule: SetFigures) -> bool:
    return (rule.method, rule.coverage, rule.by_class) == ("lac", _COVERAGE, False)


def _notes() -> str:
    return translate(
        "Thresholds and temperature were learned on the validation split. AURC: area under the risk-coverage curve, lower is "
        "better. Foreign: AUROC of the score against the test photos, and the share of foreign photos below the threshold "
        "that keeps 95 % of the test photos. Guarantees hold for photos like those of the validation split, not for photos "
        "from elsewhere."
    )


def _share(share: Interval | None) -> str:
    return NONE if share is None else f"{100 * share.value:.1f} %"


def _percent(value: Interval | None) -> str:
    if value is None:
        return NONE
    low, middle, high = (f"{100 * number:.1f}" for number in (value.low, value.value, value.high))
    return translate("{value} ({low} to {high})", value=middle, low=low, high=high)
