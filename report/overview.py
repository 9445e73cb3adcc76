"""Several bundles side by side: what each one's verdict is about, and all candidates in one chart for each machine."""

from __future__ import annotations

from collections.abc import Sequence

from vegrt.report import speed_charts
from vegrt.report.blocks import Badge, Chart, Section, Text, charts, section, sections, table
from vegrt.report.facts import Facts
from vegrt.report.language import say
from vegrt.report.summary import HEADS, NONE, Row, rows, rows_with
from vegrt.report.verdict import Conclusion, conclude


def overview_sections(named: Sequence[tuple[str, Facts]], chart: Chart | None) -> list[Section]:
    """Return the comparison of several bundles, each under the name that the report gives it."""
    found = [(name, compared, conclude(facts, compared)) for name, facts in named for compared in [rows(facts)]]
    heads = [say("bundle"), *(say(head) for head in HEADS)]
    lines = [line for name, compared, conclusion in found for line in _lines(name, compared, conclusion)]
    title = say("The reference and the chosen candidate of each bundle")
    note = Text(say("Each bundle's drop is against its own fp32."), note=True)
    return sections(
        section("overview", say("Comparison"), table(title, heads, lines, text_columns=3), note, charts(chart))
    )


def overview_chart(named: Sequence[tuple[str, Facts]]) -> Chart | None:
    """Return accuracy against latency of all bundles, a panel for each machine that measured any of them."""
    machines: dict[str, list[tuple[str, Row]]] = {}
    for name, facts in named:
        for machine, bench in facts.benches().items():
            placed = [row for row in rows_with(facts, bench) if row.top1 is not None and row.p50_ms]
            machines.setdefault(machine, []).extend((name, row) for row in placed)
    names = [name for name, _ in named]
    panels = [
        speed_charts.bundles_by_latency(found, names, title=machine if len(machines) > 1 else "")
        for machine, found in machines.items()
        if found
    ]
    label = say("Top-1 accuracy of all bundles against the median time of one photo")
    caption = say("Up and left is better. Bars: intervals. Thin line: what no other candidate beats in both.")
    return Chart("overview", tuple(panels), label, caption) if panels else None


def _lines(name: str, compared: Sequence[Row], conclusion: Conclusion) -> list[tuple[str, ...]]:
    chosen = conclusion.chosen.key if conclusion.chosen else ""
    kept = [row for row in compared if row.verdict == "REFERENCE" or row.key == chosen] or list(compared[:1])
    return [(name, *row.cells()[:-1], Badge(row.verdict or NONE)) for row in kept]
