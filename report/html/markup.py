"""Text to HTML: whatever is not markup already is escaped, so that a hostile class name stays a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_SHORT, _SHORT_HEAD = 24, 12  # letters that stay on one line


class Html(str):
    """Markup. Made only here and from literals; any other string is text."""

    __slots__ = ()


def html(value: str) -> Html:
    """Return markup as it is, and text escaped, for elements and for quoted attributes."""
    return value if isinstance(value, Html) else Html(escape(value))


def join(parts: Iterable[Html]) -> Html:
    """Return the parts one below the other."""
    return Html("\n".join(parts))


def element(name: str, *content: str, **attributes: str) -> Html:
    """Return an element; `class_` becomes class and `aria_label` aria-label."""
    named = "".join(f' {key.strip("_").replace("_", "-")}="{html(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{named}>{''.join(map(html, content))}</{name}>")


def section(title: str, *content: str) -> Html:
    """Return a section under a heading; nothing when it has no content."""
    filled = [html(part) for part in content if part]
    return element("section", element("h3", title), join(filled)) if filled else Html("")


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int | None = None
) -> Html:
    """Return a table in a box that scrolls by itself; the first cell of a row is its heading.

    text_columns: how many columns are text; the rest are numbers, aligned to the right. By default all are text.
    """
    sides = ["text" if text_columns is None or number < text_columns else "number" for number in range(len(heads))]
    head = [
        element("th", cell, scope="col", class_=f"{side} short" if len(cell) <= _SHORT_HEAD else side)
        for cell, side in zip(heads, sides, strict=True)
    ]
    body = [
        element(
            "tr",
            element("th", cells[0], scope="row"),
            *(element("td", cell, class_=_look(cell, side)) for cell, side in zip(cells[1:], sides[1:], strict=True)),
        )
        for cells in rows
    ]
    parts = element("thead", element("tr", *head)), element("tbody", *body)
    whole = element("table", element("caption", caption), *parts)
    return element("div", whole, class_="scroll", role="region", aria_label=caption, tabindex="0")


def _look(cell: str, side: str) -> str:
    """Return a cell's class: a short text is not broken."""
    return f"{side} short" if side == "text" and len(cell) <= _SHORT else side


def fact_table(caption: str, facts: Iterable[tuple[str, str]]) -> Html:
    """Return a table of names and values; empty values are left out."""
    return table(caption, ("what", "value"), [fact for fact in facts if fact[1]])
