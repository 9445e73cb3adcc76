"""Tables for the terminal, made with rich; titles and cells may contain any text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.table import Table


def make_table(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    notes: Iterable[str] = (),
    text: Collection[str] | None = None,
    section_ends: Collection[int] = (),
    styles: Mapping[str, str] | None = None,
) -> Table:
    """Return a table; rows may be shorter than the headings. Long cells are folded.

    notes: lines below the table; empty ones are dropped. text: headings of the text columns; if given, all other columns are
    right-aligned and the table has no frame. section_ends: indices of the rows that are followed by a line. styles: rich's styles
    for cells with exactly these texts.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    caption = escape("\n".join(filter(None, notes)))
    framed = text is None
    table = Table(
        title=escape(title) or None,
        caption=caption or None,
        caption_justify="left" if framed else "center",
        box=box.HEAVY_HEAD if framed else box.SIMPLE_HEAD,
        pad_edge=framed,
    )
    for heading in headings:
        justify: Literal["left", "right"] = "left" if text is None or heading in text else "right"
        table.add_column(escape(heading), justify=justify, overflow="fold")
    for number, row in enumerate(rows):
        cells = (Text(cell, styles[cell]) if styles and cell in styles else escape(cell) for cell in row)
        table.add_row(*cells, end_section=number in section_ends)
    return table
