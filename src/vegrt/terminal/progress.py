"""Progress bars on stderr; stdout is for results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from vegrt.files.text import printable

T = TypeVar("T")
_wanted: ContextVar[bool | None] = ContextVar("vegrt.progress", default=None)


@contextmanager
def showing_progress(wanted: bool | None) -> Iterator[None]:
    """Show progress bars in the block, or none; None: if stderr is a terminal."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` and show on stderr how many are done. Shows nothing if stderr is no terminal, see showing_progress."""
    count = len(items) if total is None and isinstance(items, Sized) else total
    with counting(description, count) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def counting(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a progress bar on stderr. Shows nothing if stderr is no terminal, see showing_progress."""
    # sys.stderr is None if it is closed, in a program that uses vegrt as a library
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    wanted = _wanted.get()
    if wanted is False or not (
        wanted or is_terminal or "FORCE_COLOR" in os.environ
    ):  # loading rich takes 70 ms, half the time of classifying a photo
        yield lambda count: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, force_terminal=wanted or None)
    hidden = not console.is_terminal or os.environ.get("RANK", "0") != "0"  # under torchrun one bar is enough
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(escape(printable(description)), total=total)
        yield lambda count: progress.update(task, advance=count)
