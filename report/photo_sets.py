"""The section on other photos than the bundle's own test split: what `vegrt evaluate --name` found on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vegrt.evaluate.photo_sets import other_sets
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Badge, Section, Text, section, table
from vegrt.report.language.language import translate
from vegrt.report.summary import NONE, joined, span
from vegrt.results.files import load_result_dict


def photo_sets(facts: Facts) -> Section | None:
    """Return one row for each set and candidate; None where only the test split was evaluated."""
    found = {name: load_result_dict(facts.bundle, f"evaluate-{name}") or {} for name in other_sets(facts.bundle)}
    if not found:
        return None
    lines = [line for name, result in found.items() for line in _lines(name, result)]
    heads = [
        translate("photo set"),
        translate("images"),
        translate("candidate"),
        translate("top-1 %"),
        translate("interval, %"),
        translate("drop, points"),
        translate("flips"),
        translate("gate"),
    ]
    title = translate("Other photo sets")
    note = translate("The gate, the verdict above and the choice of vegrt infer read the bundle's own test split only.")
    return section("photo-sets", title, table(title, heads, lines, text_columns=1), Text(note, note=True))


def _lines(name: str, result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for evaluated in result["candidates"]:
        row = joined(evaluated, None)
        interval = f"{100 * row.top1.low:.2f}–{100 * row.top1.high:.2f}" if row.top1 else NONE
        top1 = f"{100 * row.top1.value:.2f}" if row.top1 else NONE
        drop = span(row.drop) if row.drop and row.verdict != "REFERENCE" else NONE
        flips = NONE if row.flips is None else f"{row.flips:,}"
        yield (name, f"{result['images']:,}", row.key, top1, interval, drop, flips, Badge(row.verdict or NONE))
