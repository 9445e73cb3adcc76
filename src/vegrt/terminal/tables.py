"""Tables for the terminal, made with rich; titles and cells may contain any text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

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
) -> Table:
    """Return a table; rows may be shorter than the headings.

    notes: lines below the table; empty ones are dropped. text: headings of the text columns; if given, all other columns are
    right-aligned and the table has no frame. section_ends: indices of the rows that are followed by a line.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    caption = escape("\n".join(filter(None, notes)))
    framed = text is None
    table = Table(
        title=escape(title),
        caption=caption or None,
        caption_justify="left" if framed else "center",
        box=box.HEAVY_HEAD if framed else box.SIMPLE_HEAD,
        pad_edge=framed,
    )
    for heading in headings:
        table.add_column(escape(heading), justify="left" if text is None or heading in text else "right")
    for number, row in enumerate(rows):
        table.add_row(*map(escape, row), end_section=number in section_ends)
    return table
