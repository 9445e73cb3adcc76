"""A report's blocks as Markdown (GitHub flavoured): text, tables, and links to the pictures of its charts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import quote

from vegrt.report.html.blocks import (
    Badge,
    Block,
    Chart,
    Charts,
    Code,
    Section,
    Statement,
    Table,
    Text,
    verdict_words,
)
from vegrt.report.verdict import Conclusion

Link = Callable[[Chart], str | None]  # returns the path of a chart's picture relative to the document, or None
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")
_INTERVAL = re.compile(r"\([-+0-9][^()]*\)$")
_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


def verdict_markdown(name: str, conclusion: Conclusion) -> str:
    """Return a bundle's verdict under its heading."""
    badge = f"**{escape_markdown(verdict_words(conclusion.outcome))}**"
    heading = f"## {escape_markdown(f'{name}: {conclusion.headline}')}"
    return "\n\n".join([heading, badge, *map(statement_markdown, conclusion.statements)])


def statement_markdown(statement: Statement) -> str:
    """Return a statement with its topic in bold."""
    topic = f"**{escape_markdown(statement.topic)}** " if statement.topic else ""
    return topic + escape_markdown(statement.text)


def sections_markdown(sections: Sequence[Section], link: Link, *, level: int = 3) -> str:
    """Return the sections under headings of this level; charts without a picture are omitted."""
    return "\n\n".join(filter(None, (_section_markdown(section, link, level) for section in sections)))


def escape_markdown(text: str) -> str:
    """Return text on one line, escaped so that Markdown shows it unchanged."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def table_markdown(table: Table) -> str:
    """Return a table under its caption, with numbers aligned to the right."""
    text_columns = range(len(table.headings)) if table.text_columns is None else range(table.text_columns)
    rule = [":--" if column in text_columns else "--:" for column in range(len(table.headings))]
    lines = [
        [escape_markdown(heading) for heading in table.headings],
        rule,
        *([_cell_markdown(cell) for cell in row] for row in table.rows),
    ]
    text = f"**{escape_markdown(table.caption)}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if table.complete is None:
        return text
    link = f"[{escape_markdown(table.complete.file)}](<{quote(table.complete.file)}>)"
    return f"{text}\n\n{escape_markdown(table.complete.words)}: {link}"


def _section_markdown(section: Section, link: Link, level: int) -> str:
    parts = list(filter(None, (_block_markdown(block, link) for block in section.blocks)))
    return "\n\n".join([f"{'#' * level} {escape_markdown(section.title)}", *parts]) if parts else ""


def _block_markdown(block: Block, link: Link) -> str:
    if isinstance(block, Text):
        return escape_markdown(block.text)
    if isinstance(block, Table):
        return table_markdown(block)
    if isinstance(block, Code):
        return f"```\n{block.text}\n```"
    if isinstance(block, Charts):
        return "\n\n".join(filter(None, (_picture_markdown(chart, link(chart)) for chart in block.charts)))
    return escape_markdown(block.markdown_text)


def _picture_markdown(chart: Chart, path: str | None) -> str:
    if path is None:
        return ""
    return f"![{escape_markdown(chart.label)}](<{path}>)\n\n{escape_markdown(chart.caption)}"


def _cell_markdown(cell: str) -> str:
    if isinstance(cell, Badge):
        return escape_markdown(cell.words)
    # a narrow column would break an interval into four lines
    return _INTERVAL.sub(lambda interval: interval[0].replace(" ", _NO_BREAK_SPACE), escape_markdown(cell))
