"""What a report consists of, before it is HTML or Markdown: sections of texts, tables, charts and commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vegrt.report.html.markup import Html
from vegrt.report.language.language import translate

Spec = dict[str, Any]  # a Vega-Lite specification


class Badge(str):
    """A verdict as a cell of a table: its code, shown in the report's language."""

    __slots__ = ()

    @property
    def words(self) -> str:
        """Return what people read."""
        return verdict_words(self)


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph. note: said by the way, about what stands above."""

    text: str
    note: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of a row is its heading.

    text_columns: how many columns are text; the rest are numbers, aligned to the right. By default all are text.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of one or more panels with its words.

    name: of its picture file, without ending. label: what it shows, for those who do not see it. panel_px: the least width
    of a panel on a page; as many stand side by side as there is room for.
    """

    name: str
    panels: tuple[Spec, ...]
    label: str
    caption: str
    panel_px: int = 416


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts that stand side by side where there is room."""

    charts: tuple[Chart, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Commands or other literal text, line by line."""

    text: str


@dataclass(frozen=True, slots=True)
class PhotoGrid:
    """Markup with photos, which Markdown has no place for. instead: what it says there."""

    html: Html
    instead: str


Block = Text | Table | Charts | Code | PhotoGrid


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a heading. name: of the place on the page, in any language."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def sections(*found: Section | None) -> list[Section]:
    """Return those that have content, in their order."""
    return [section for section in found if section is not None and section.blocks]


def section(name: str, title: str, *blocks: Block | None) -> Section:
    """Return a section of the blocks that are there."""
    return Section(name, title, tuple(block for block in blocks if block is not None))


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int | None = None
) -> Table | None:
    """Return a table; None when it has no rows."""
    lines = tuple(tuple(row) for row in rows)
    return Table(caption, tuple(heads), lines, text_columns) if lines else None


def fact_table(caption: str, facts: Iterable[tuple[str, str]]) -> Table | None:
    """Return a table of names and values; empty values are left out."""
    return table(caption, (translate("what"), translate("value")), [fact for fact in facts if fact[1]])


def charts(*found: Chart | None) -> Charts | None:
    """Return the charts that are there, side by side; None without any."""
    present = tuple(chart for chart in found if chart is not None)
    return Charts(present) if present else None


def verdict_words(code: str) -> str:
    """Return a verdict's code as people read it."""
    words = {
        "REFERENCE": translate("REFERENCE"),
        "PASS": translate("PASS"),
        "FAIL": translate("FAIL"),
        "INCONCLUSIVE": translate("INCONCLUSIVE"),
        "UNKNOWN": translate("UNKNOWN"),
    }
    return words.get(code, code)
