"""Progress bars on stderr; stdout is for results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from vegrt.files.text import printable

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` and show on stderr how many are done. Shows nothing if stderr is not a terminal."""
    count = len(items) if total is None and isinstance(items, Sized) else total
    with counting(description, count) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def counting(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a progress bar on stderr. Shows nothing if stderr is not a terminal."""
    # sys.stderr is None if it is closed, in a program that uses vegrt as a library
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    if (
        not is_terminal and "FORCE_COLOR" not in os.environ
    ):  # loading rich takes 70 ms, half the time of classifying a photo
        yield lambda count: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    hidden = not console.is_terminal or os.environ.get("RANK", "0") != "0"  # under torchrun one bar is enough
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(escape(printable(description)), total=total)
        yield lambda count: progress.update(task, advance=count)
