"""The sections on the answers: each class, calibration of the probabilities, and robustness to corrupted photos."""

from __future__ import annotations

from math import inf

from vegrt.evaluate.wording import extra_drop_sentence, signed_points
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import (
    MAX_CLASSES_LISTED,
    Chart,
    CompleteRows,
    Section,
    Table,
    Text,
    charts_of,
    section_of,
    table_of,
)
from vegrt.report.language.language import mark, translate
from vegrt.report.summary import NONE, SummaryRow
from vegrt.results.analysis import Robustness, RobustnessRow
from vegrt.results.common import Interval
from vegrt.results.evaluation import CandidateResult, ClassFigures, Paired

CLEAN = "clean"  # the name of uncorrupted photos in a robustness result
_CORRUPTIONS = {
    "jpeg": mark("JPEG"),
    "blur": mark("blur"),
    "noise": mark("noise"),
    "brightness": mark("brightness"),
    "rotation": mark("rotation"),
}


def corruption_name(name: str) -> str:
    """Return a corruption's name in the report's language."""
    return translate(_CORRUPTIONS[name]) if name in _CORRUPTIONS else name


def class_section(facts: Facts, chosen: SummaryRow | None, chart: Chart | None) -> Section | None:
    """Return the changes in each class, and each class's figures of the chosen candidate against the reference."""
    if not facts.evaluation:
        return None
    return section_of("classes", translate("Results by class"), charts_of(chart), _class_table(facts, chosen))


def _class_table(facts: Facts, chosen: SummaryRow | None) -> Table | None:
    rows = facts.evaluated()
    row = next((row for row in rows if chosen and row.key == chosen.key), None)
    if row is None or not facts.evaluation or not (rows[0].classes and row.classes and row.paired.classes):
        return None
    lines = [
        (
            name,
            f"{now.support:,}",
            _rate_cell(now.precision),
            _rate_cell(now.recall),
            _percent_cell(before.f1),
            _percent_cell(now.f1),
            f"{change.newly_wrong:,}",
            f"{change.newly_right:,}",
            _p_cell(change.p),
            _p_cell(change.p_holm),
        )
        for name, before, now, change in zip(
            facts.evaluation.classes, rows[0].classes, row.classes, row.paired.classes, strict=True
        )
    ]
    headings = (
        translate("class"),
        translate("photos"),
        translate("precision %"),
        translate("recall %"),
        translate("F1 %, {key}", key=rows[0].key),
        translate("F1 %, {key}", key=row.key),
        translate("newly wrong"),
        translate("newly right"),
        translate("p"),
        translate("p, Holm"),
    )
    caption = translate(
        "Precision, recall and F1 of {key}; McNemar's test for each class, with Holm's correction over all classes",
        key=row.key,
    )
    if len(lines) <= MAX_CLASSES_LISTED:
        return table_of(caption, headings, lines, text_columns=1)
    worst = sorted(range(len(lines)), key=list(map(_f1, row.classes)).__getitem__)[:MAX_CLASSES_LISTED]
    more = translate("The {shown} of {all} classes with the lowest F1.", shown=len(worst), all=f"{len(lines):,}")
    complete = CompleteRows("classes.csv", tuple(lines))
    shown = [lines[label] for label in worst]
    return table_of(f"{more} {caption}", headings, shown, text_columns=1, complete=complete)


def _f1(figures: ClassFigures) -> float:
    """Return a class's F1 for sorting; classes that have none are last."""
    return inf if figures.f1 is None else figures.f1.value


def reliability_section(facts: Facts, chart: Chart | None) -> Section | None:
    """Return the calibration of the probabilities, and how the answers changed; nothing without an evaluation."""
    rows = facts.evaluated()
    has_top5 = any(row.top5 for row in rows)
    lines = [
        (
            row.key,
            _percent_cell(row.top3),
            *([_percent_cell(row.top5)] if has_top5 else []),
            _figure_cell(row.nll, 4),
            _figure_cell(row.ece, 4),
            _figure_cell(row.brier, 4),
            _figure_cell(row.margin_mean, 3),
        )
        for row in rows
    ]
    headings = (
        translate("candidate"),
        translate("top-3 %"),
        *([translate("top-5 %")] if has_top5 else []),
        translate("NLL, nats"),
        "ECE",
        "Brier",
        translate("mean margin"),
    )
    table = table_of(translate("Quality of the probabilities"), headings, lines, text_columns=1)
    notes = translate(
        "NLL: negative log-likelihood. ECE: expected calibration error, 15 bins. Brier: mean squared error of the "
        "probabilities. Margin: probability of the first class minus that of the second. Detectable drop: the smallest drop "
        "that this number of photos detects with a power of 80 %."
    )
    note = Text(notes, note=True) if table else None
    title = translate("Calibration (reliability)")
    return section_of("probabilities", title, charts_of(chart), table, _change_table(rows), note)


def _change_table(rows: tuple[CandidateResult, ...]) -> Table | None:
    """Return how each candidate's answers differ from the reference's."""
    lines = [(row.key, *_paired_cells(row.paired)) for row in rows[1:]]
    headings = (
        translate("candidate"),
        translate("agreement %"),
        translate("newly wrong"),
        translate("newly right"),
        translate("wrong either way"),
        translate("KL, nats"),
        translate("McNemar p"),
        translate("detectable drop, points"),
    )
    caption = translate("Changed answers compared with {reference}", reference=rows[0].key) if rows else ""
    return table_of(caption, headings, lines, text_columns=1)


def robustness_section(facts: Facts, chart: Chart | None) -> Section | None:
    """Return the accuracy on corrupted photos as charts, and the strongest level of each corruption as a table."""
    if not (robustness := facts.robustness):
        return None
    strongest = max((row.level for row in robustness.rows), default=0)
    lines = [_corruption_cells(row) for row in robustness.rows if row.level == strongest]
    headings = (
        translate("corruption"),
        translate("parameter"),
        translate("candidate"),
        translate("top-1 %"),
        translate("drop, points"),
        translate("newly wrong"),
        translate("newly right"),
    )
    text = translate(
        "{images} test photos, corrupted at five levels. Each candidate is compared with fp32 on the same corrupted photo.",
        images=f"{robustness.images:,}",
    )
    table = table_of(translate("Strongest level of each corruption"), headings, lines, text_columns=3)
    title = translate("Robustness to corrupted photos")
    return section_of("robustness", title, Text(text), *_extra_drops(robustness), charts_of(chart), table)


def _corruption_cells(row: RobustnessRow) -> tuple[str, ...]:
    return (
        corruption_name(row.corruption),
        NONE if row.parameter is None else f"{row.parameter:g}",
        row.candidate,
        _percent_cell(row.top1),
        signed_points(row.drop.value) if row.drop else NONE,
        *(NONE if count is None else f"{count:,}" for count in (row.newly_wrong, row.newly_right)),
    )


def _extra_drops(robustness: Robustness) -> list[Text]:
    """Return for each candidate whether it loses more on corrupted photos than on clean ones."""
    sentences = (extra_drop_sentence(extra, robustness.confidence, translate=translate) for extra in robustness.summary)
    return [Text(f"{sentence}.") for sentence in sentences]


def _paired_cells(paired: Paired) -> tuple[str, ...]:
    return (
        f"{100 * paired.agreement:.2f}",
        *(f"{count:,}" for count in (paired.newly_wrong, paired.newly_right, paired.wrong_to_other_wrong)),
        _figure_cell(paired.kl, 5),
        _p_cell(paired.mcnemar_p),
        NONE if paired.detectable_drop is None else f"{100 * paired.detectable_drop:.2f}",
    )


def _figure_cell(value: Interval | float | None, digits: int) -> str:
    """Return a figure, with its interval if the result file has one."""
    if value is None:
        return NONE
    if not isinstance(value, Interval):
        return f"{value:.{digits}f}"
    middle, low, high = (f"{number:.{digits}f}" for number in (value.value, value.low, value.high))
    return translate("{value} ({low} to {high})", value=middle, low=low, high=high)


def _percent_cell(value: Interval | None) -> str:
    """Return a proportion with its interval in percent."""
    if value is None:
        return NONE
    low, middle, high = (f"{100 * number:.1f}" for number in (value.low, value.value, value.high))
    return translate("{value} ({low} to {high})", value=middle, low=low, high=high)


def _rate_cell(value: Interval | None) -> str:
    return NONE if value is None else f"{100 * value.value:.1f}"


def _p_cell(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"
