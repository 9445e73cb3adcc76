"""Several bundles side by side: what each one's verdict is about, and all candidates in one chart for each machine."""

from __future__ import annotations

from collections.abc import Sequence

from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Chart, Section, Text, charts, section, sections, table, verdict_words
from vegrt.report.language.language import translate
from vegrt.report.summary import HEADS, TEXT_COLUMNS, SummaryRow, rows
from vegrt.report.verdict import Conclusion, conclude


def overview_sections(named: Sequence[tuple[str, Facts]], chart: Chart | None) -> list[Section]:
    """Return the comparison of several bundles, each under the name that the report gives it."""
    found = [(name, compared, conclude(facts, compared)) for name, facts in named for compared in [rows(facts)]]
    heads = [translate("bundle"), *(translate(head) for head in HEADS)]
    lines = [line for name, compared, conclusion in found for line in _lines(name, compared, conclusion)]
    title = translate("The reference and the chosen candidate of each bundle")
    verdicts = [
        Text(f"{name}: {conclusion.headline} ({verdict_words(conclusion.outcome)})") for name, _, conclusion in found
    ]
    note = Text(translate("Each bundle's drop is against its own fp32."), note=True)
    whole = table(title, heads, lines, text_columns=1 + TEXT_COLUMNS)
    return sections(section("overview", translate("Comparison"), *verdicts, whole, note, charts(chart)))


def _lines(name: str, compared: Sequence[SummaryRow], conclusion: Conclusion) -> list[tuple[str, ...]]:
    chosen = conclusion.chosen.key if conclusion.chosen else ""
    kept = [row for row in compared if row.verdict == "REFERENCE" or row.key == chosen] or list(compared[:1])
    return [(name, *row.cells()) for row in kept]
