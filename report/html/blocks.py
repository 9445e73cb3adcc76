"""The content of a report, independent of HTML and Markdown: sections with texts, tables, charts, commands and photos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vegrt.report.language.language import translate

Spec = dict[str, Any]  # a Vega-Lite specification
MAX_CLASSES_LISTED = 30  # in a table; a file beside the document has all


class Badge(str):
    """A verdict in a table cell: its code, shown in the report's language."""

    __slots__ = ()

    @property
    def words(self) -> str:
        """Return the text that readers see."""
        return verdict_words(self)


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence of a verdict. topic: set in bold before it, may be empty."""

    topic: str
    text: str

    def __str__(self) -> str:
        """Return the topic and the text."""
        return f"{self.topic} {self.text}" if self.topic else self.text


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph. note: whether it is a remark on the block above, in smaller type."""

    text: str
    note: bool = False


@dataclass(frozen=True, slots=True)
class CompleteRows:
    """All rows of a table. file: name of their CSV file; `vegrt.report.row_files` makes it unique to a document."""

    file: str
    rows: tuple[tuple[str, ...], ...]

    @property
    def words(self) -> str:
        """Return the text before the file's name."""
        return translate("All {rows} rows", rows=f"{len(self.rows):,}")


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of each row is the row's heading.

    text_columns: number of columns with text; the others hold numbers, aligned to the right. Default: all hold text.
    complete: where `rows` are only some: all of them, for a CSV file beside the document, to which the table links.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int | None = None
    complete: CompleteRows | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of one or more panels with its label and caption.

    name: name of its picture file, without suffix. label: description for screen readers. panel_px: minimum width of a panel on a
    page, in pixels; as many panels as fit are shown side by side.
    """

    name: str
    panels: tuple[Spec, ...]
    label: str
    caption: str
    panel_px: int = 416


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts, side by side if they fit."""

    charts: tuple[Chart, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Commands or other literal text, line by line."""

    text: str


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A thumbnail. uri: a data URI. alt: its description. width, height: in pixels."""

    uri: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """A candidate's answer, shown under a photo. key: the candidate; empty if there is only one."""

    text: str
    is_right: bool
    key: str = ""


@dataclass(frozen=True, slots=True)
class PhotoCard:
    """A photo with its true class and the answers. status: text such as `newly wrong`. status_class: its CSS class, or empty."""

    label: str
    path: str
    status: str
    answers: tuple[AnswerLine, ...]
    thumbnail: Thumbnail | None
    status_class: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Photos below an introduction; on HTML pages only.

    markdown_text: shown instead in Markdown. note: below the photos, or empty.
    """

    introduction: tuple[str, ...]
    photos: tuple[PhotoCard, ...]
    note: str = ""
    markdown_text: str = ""


Block = Text | Table | Charts | Code | Gallery


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a heading. name: the anchor in the page's URL, the same in every language."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def sections_of(*sections: Section | None) -> list[Section]:
    """Return the sections that have content, in their order."""
    return [section for section in sections if section is not None and section.blocks]


def section_of(name: str, title: str, *blocks: Block | None) -> Section:
    """Return a section of the blocks that are not None."""
    return Section(name, title, tuple(block for block in blocks if block is not None))


def table_of(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    text_columns: int | None = None,
    complete: CompleteRows | None = None,
) -> Table | None:
    """Return a table; None if it has no rows."""
    lines = tuple(tuple(row) for row in rows)
    return Table(caption, tuple(headings), lines, text_columns, complete) if lines else None


def fact_table_of(caption: str, facts: Iterable[tuple[str, str]]) -> Table | None:
    """Return a table of names and values without the empty values; None if all are empty."""
    return table_of(caption, (translate("property"), translate("value")), [fact for fact in facts if fact[1]])


def charts_of(*charts: Chart | None) -> Charts | None:
    """Return the charts that are not None, side by side; None if there are none."""
    present = tuple(chart for chart in charts if chart is not None)
    return Charts(present) if present else None


def verdict_words(code: str) -> str:
    """Return a verdict's code in the report's language."""
    words = {
        "REFERENCE": translate("REFERENCE"),
        "PASS": translate("PASS"),
        "FAIL": translate("FAIL"),
        "INCONCLUSIVE": translate("INCONCLUSIVE"),
        "UNKNOWN": translate("UNKNOWN"),
    }
    return words.get(code, code)
