"""How results show themselves in a notebook. What draws them is a report, which results know only by name."""

from __future__ import annotations

from importlib import import_module


class Shown:
    """A result that a notebook shows as HTML: its verdict, its table and its chart."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        """Return HTML; None, so that the notebook shows the text, without the `report` extra."""
        html: str | None = import_module("vegrt.api.notebook").notebook_html(self)
        return html
