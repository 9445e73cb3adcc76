"""The sections on the answers themselves: each class, how sure they were, and what a bad photo does to them."""

from __future__ import annotations

from typing import Any

from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Chart, Section, Table, Text, charts, section, table
from vegrt.report.language.language import mark, translate
from vegrt.report.summary import NONE, SummaryRow, points

CLEAN = "clean"  # what a robustness result calls the photo as it is
_CORRUPTIONS = {
    "jpeg": mark("JPEG"),
    "blur": mark("blur"),
    "noise": mark("noise"),
    "brightness": mark("brightness"),
    "rotation": mark("rotation"),
}


def corruption_words(name: str) -> str:
    """Return what people call a corruption."""
    return translate(_CORRUPTIONS[name]) if name in _CORRUPTIONS else name


def per_class(facts: Facts, chosen: SummaryRow | None, chart: Chart | None) -> Section | None:
    """Return what changed in each class, and every class of the chosen candidate against the reference."""
    if not facts.evaluation:
        return None
    return section("classes", translate("Each class"), charts(chart), _class_table(facts, chosen))


def _class_table(facts: Facts, chosen: SummaryRow | None) -> Table | None:
    rows = facts.evaluated()
    row = next((row for row in rows if chosen and row["key"] == chosen.key), None)
    if row is None or not facts.evaluation or not row.get("classes") or not row["paired"].get("classes"):
        return None
    found = zip(facts.evaluation["classes"], rows[0]["classes"], row["classes"], row["paired"]["classes"], strict=True)
    lines = [
        (
            name,
            f"{now['support']:,}",
            _rate(now["precision"]),
            _rate(now["recall"]),
            _percent(before["f1"]),
            _percent(now["f1"]),
            f"{change['newly_wrong']:,}",
            f"{change['newly_right']:,}",
            _p(change["p"]),
            _p(change["p_holm"]),
        )
        for name, before, now, change in found
    ]
    heads = (
        translate("class"),
        translate("photos"),
        translate("precision %"),
        translate("recall %"),
        translate("F1 %, {key}", key=rows[0]["key"]),
        translate("F1 %, {key}", key=row["key"]),
        translate("newly wrong"),
        translate("newly right"),
        translate("p"),
        translate("p, Holm"),
    )
    caption = translate(
        "Precision, recall and F1 of {key}, and McNemar's test of each class; Holm's correction for all of them",
        key=row["key"],
    )
    return table(caption, heads, lines, text_columns=1)


def calibration_of_answers(facts: Facts, chart: Chart | None) -> Section | None:
    """Return how sure the answers were, and the figures that no other table has; nothing in a result without them."""
    rows = facts.evaluated()
    lines = [
        (
            row["key"],
            _percent(row["top3"]),
            _number(row["nll"], 4),
            _number(row["ece"], 4),
            _number(row.get("brier"), 4),
            _number(row.get("margin_mean"), 3),
        )
        for row in rows
    ]
    heads = (
        translate("candidate"),
        translate("top-3 %"),
        translate("NLL, nats"),
        "ECE",
        "Brier",
        translate("mean margin"),
    )
    tabled = table(translate("Figures of the probabilities"), heads, lines, text_columns=1)
    notes = translate(
        "NLL: negative log-likelihood. ECE: expected calibration error, 15 bins. Brier: mean squared error of the "
        "probabilities. Margin: probability of the answer minus that of the second. Detectable drop: the smallest that this "
        "number of photos shows with 80 % power."
    )
    note = Text(notes, note=True) if tabled else None
    return section("probabilities", translate("How sure the answers were"), charts(chart), tabled, _changes(rows), note)


def _changes(rows: list[dict[str, Any]]) -> Table | None:
    """Return how each candidate's answers differ from the reference's."""
    lines = [(row["key"], *_paired(row["paired"])) for row in rows[1:]]
    heads = (
        translate("candidate"),
        translate("agreement %"),
        translate("newly wrong"),
        translate("newly right"),
        translate("wrong either way"),
        translate("KL, nats"),
        translate("McNemar p"),
        translate("detectable drop, points"),
    )
    caption = translate("How much the answers changed against {reference}", reference=rows[0]["key"]) if rows else ""
    return table(caption, heads, lines, text_columns=1)


def robustness(facts: Facts, chart: Chart | None) -> Section | None:
    """Return the robustness ladder as charts, and the worst level of each corruption as a table."""
    if not (found := facts.robustness):
        return None
    worst = max((row["level"] for row in found["rows"]), default=0)
    lines = [
        (
            corruption_words(row["corruption"]),
            f"{row['parameter']:g}" if row.get("parameter") is not None else NONE,
            row["candidate"],
            _percent(row["top1"]),
            points(row["drop"]["value"]) if row.get("drop") else NONE,
            *(f"{row[name]:,}" if row.get(name) is not None else NONE for name in ("newly_wrong", "newly_right")),
        )
        for row in found["rows"]
        if row["level"] == worst
    ]
    heads = (
        translate("corruption"),
        translate("parameter"),
        translate("candidate"),
        translate("top-1 %"),
        translate("drop, points"),
        translate("newly wrong"),
        translate("newly right"),
    )
    text = translate(
        "{images} test photos, made worse in five steps; each candidate is compared with fp32 on the same bad photo.",
        images=f"{found['images']:,}",
    )
    tabled = table(translate("At the worst level of each corruption"), heads, lines, text_columns=3)
    return section("robustness", translate("Bad photos"), Text(text), *_extra_drops(found), charts(chart), tabled)


def _extra_drops(found: dict[str, Any]) -> list[Text]:
    """Return how much more each candidate loses on bad photos than on clean ones."""
    return [
        Text(
            translate(
                "{key}: on bad photos the drop is {extra} points larger than on clean ones, {confidence} interval {low} to "
                "{high}.",
                key=one["candidate"],
                extra=points(one["extra_drop"]["value"]),
                confidence=f"{found['confidence']:.0%}",
                low=points(one["extra_drop"]["low"]),
                high=points(one["extra_drop"]["high"]),
            )
        )
        for one in found.get("summary", ())
    ]


def _paired(paired: dict[str, Any]) -> tuple[str, ...]:
    detectable = paired.get("detectable_drop")
    return (
        f"{100 * paired['agreement']:.2f}",
        *(f"{paired[name]:,}" for name in ("newly_wrong", "newly_right", "wrong_to_other_wrong")),
        _number(paired.get("kl"), 5),
        _p(paired["mcnemar_p"]),
        NONE if detectable is None else f"{100 * detectable:.2f}",
    )


def _number(value: Any, digits: int) -> str:
    """Return a figure that a result file has plain or with its interval, or not at all."""
    if value is None:
        return NONE
    if not isinstance(value, dict):
        return f"{value:.{digits}f}"
    low, high = (f"{value[name]:.{digits}f}" for name in ("low", "high"))
    return translate("{value} ({low} to {high})", value=f"{value['value']:.{digits}f}", low=low, high=high)


def _percent(value: dict[str, float] | None) -> str:
    """Return a proportion with its interval in percent."""
    if value is None:
        return NONE
    low, middle, high = (f"{100 * value[name]:.1f}" for name in ("low", "value", "high"))
    return translate("{value} ({low} to {high})", value=middle, low=low, high=high)


def _rate(value: dict[str, float] | None) -> str:
    return NONE if value is None else f"{100 * value['value']:.1f}"


def _p(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"
