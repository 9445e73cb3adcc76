"""A report's blocks as HTML: an article for each bundle, its verdict first, with a way to each of its sections."""

from __future__ import annotations

from collections.abc import Sequence

from vegrt.report.html import markup
from vegrt.report.html.blocks import Badge, Block, Charts, Code, PhotoGrid, Section, Table, Text, verdict_words
from vegrt.report.html.embed import chart_figure
from vegrt.report.html.markup import Html, element, join
from vegrt.report.language.language import translate
from vegrt.report.verdict import Conclusion


def article(name: str, conclusion: Conclusion | None, sections: Sequence[Section], *, place: str) -> Html:
    """Return everything that the page says of one bundle. place: begins the identifiers of its headings."""
    parts = [_verdict(name, conclusion) if conclusion else element("h2", name)]
    if len(sections) > 1:
        parts.append(_contents(sections, place))
    parts += [_section(one, place) for one in sections]
    return element("article", join(parts), aria_label=name)


def _verdict(name: str, conclusion: Conclusion) -> Html:
    badge = element("span", verdict_words(conclusion.outcome), class_="badge")
    sentences = [element("p", sentence) for sentence in conclusion.sentences]
    title = element("h2", f"{name}: {conclusion.headline}")
    return element("div", element("p", badge), title, *sentences, class_=f"verdict {conclusion.outcome.lower()}")


def _contents(sections: Sequence[Section], place: str) -> Html:
    links = [element("li", element("a", one.title, href=f"#{place}-{one.name}")) for one in sections]
    return element("nav", element("ul", *links), class_="contents", aria_label=translate("Contents"))


def _section(section: Section, place: str) -> Html:
    identifier = f"{place}-{section.name}"
    title = element("h3", section.title, id=identifier)
    return element("section", title, join(map(_block, section.blocks)), aria_labelledby=identifier)


def _block(block: Block) -> Html:
    if isinstance(block, Text):
        return element("p", block.text, class_="note") if block.note else element("p", block.text)
    if isinstance(block, Table):
        rows = [[_cell(cell) for cell in row] for row in block.rows]
        return markup.table(block.caption, block.heads, rows, text_columns=block.text_columns)
    if isinstance(block, Charts):
        figures = [chart_figure(chart) for chart in block.charts]
        return element("div", *figures, class_="charts") if len(figures) > 1 else figures[0]
    if isinstance(block, Code):
        return element(
            "pre", element("code", block.text), tabindex="0", role="region", aria_label=translate("Commands")
        )
    assert isinstance(block, PhotoGrid)
    return block.html


def _cell(cell: str) -> str:
    return element("span", cell.words, class_=f"badge {cell.lower()}") if isinstance(cell, Badge) else cell
