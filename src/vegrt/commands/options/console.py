"""The console that prints tables: names in them may contain control characters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from vegrt.files.text import printable_lines
from vegrt.terminal.streams import ReaderLeft


class SafeConsole(Console):
    """A rich console that escapes control characters in text; rich still writes its own colours."""

    def on_broken_pipe(self) -> None:
        """Raise ReaderLeft, which ends a command with 141; rich would exit with 1."""
        raise ReaderLeft

    def render_str(self, text: str, **more: Any) -> Text:
        """Return a cell's text, escaped before its width is measured."""
        return super().render_str(printable_lines(text), **more)

    def render(self, *args: Any, **more: Any) -> Iterable[Segment]:
        """Yield the segments of a renderable."""
        for segment in super().render(*args, **more):
            yield segment if segment.control else Segment(printable_lines(segment.text), segment.style)
