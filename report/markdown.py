"""A report's blocks as Markdown (GitHub's flavour): text, tables, and links to the pictures of its charts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from vegrt.report.html.blocks import Badge, Block, Chart, Charts, Code, Section, Table, Text, verdict_words
from vegrt.report.verdict import Conclusion

Link = Callable[[Chart], str | None]  # the path of a chart's picture as the document links to it, or None
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def verdict(name: str, conclusion: Conclusion) -> str:
    """Return a bundle's verdict under its heading."""
    sentences = "\n\n".join(escape(sentence) for sentence in conclusion.sentences)
    badge = verdict_words(conclusion.outcome)
    return f"## {escape(f'{name}: {conclusion.headline}')}\n\n**{escape(badge)}**\n\n{sentences}"


def body(sections: Sequence[Section], link: Link, *, level: int = 3) -> str:
    """Return the sections under headings of this level; a chart without a picture is left out."""
    return "\n\n".join(filter(None, (_section(one, link, level) for one in sections)))


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def tabled(table: Table) -> str:
    """Return a table under its caption, numbers to the right."""
    numbers = range(len(table.heads)) if table.text_columns is None else range(table.text_columns)
    rule = [":--" if column in numbers else "--:" for column in range(len(table.heads))]
    lines = [[escape(head) for head in table.heads], rule, *([_cell(cell) for cell in row] for row in table.rows)]
    return f"**{escape(table.caption)}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _section(section: Section, link: Link, level: int) -> str:
    parts = list(filter(None, (_block(block, link) for block in section.blocks)))
    return "\n\n".join([f"{'#' * level} {escape(section.title)}", *parts]) if parts else ""


def _block(block: Block, link: Link) -> str:
    if isinstance(block, Text):
        return escape(block.text)
    if isinstance(block, Table):
        return tabled(block)
    if isinstance(block, Code):
        return f"```\n{block.text}\n```"
    if isinstance(block, Charts):
        return "\n\n".join(filter(None, (_picture(chart, link(chart)) for chart in block.charts)))
    return escape(block.instead)


def _picture(chart: Chart, path: str | None) -> str:
    if path is None:
        return ""
    return f"![{escape(chart.label)}](<{path}>)\n\n{escape(chart.caption)}"


def _cell(cell: str) -> str:
    return escape(cell.words if isinstance(cell, Badge) else cell)
