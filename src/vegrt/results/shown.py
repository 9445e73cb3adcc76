"""How results show themselves in a notebook. What draws them is a report, which results know only by name."""

from __future__ import annotations

from importlib import import_module


class Shown:
    """A result that a notebook shows as HTML: its verdict, its table and its chart."""

    __slots__ = ()

    def to_html(self) -> str | None:
        """Return an HTML fragment without scripts, as notebooks show it; None without the `report` extra."""
        html: str | None = import_module("vegrt.api.notebook").notebook_html(self)
        return html

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows; for None it shows the text."""
        return self.to_html()
