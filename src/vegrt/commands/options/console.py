"""The console that tables are printed on: names in them may hold anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from vegrt.files.text import printable_lines


class SafeConsole(Console):
    """A rich console whose text has its control characters escaped; the colours are rich's own."""

    def render_str(self, text: str, **more: Any) -> Text:
        """Return a cell's text, escaped before it is measured."""
        return super().render_str(printable_lines(text), **more)

    def render(self, *args: Any, **more: Any) -> Iterable[Segment]:
        """Yield the segments of a renderable."""
        for segment in super().render(*args, **more):
            yield segment if segment.control else Segment(printable_lines(segment.text), segment.style)
