"""Seconds of each stage of a long command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageTimer:
    """Adds up wall time by stage. A stage may run several times; its parts do not overlap with other stages."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}  # in the order in which the stages began

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the body to the stage `name`."""
        self._seconds.setdefault(name, 0.0)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start

    def figures(self) -> dict[str, float]:
        """Return the seconds of each stage, of all else as "other", and in all since the timer was made, as "total"."""
        total = time.perf_counter() - self._started
        return self._seconds | {"other": total - sum(self._seconds.values()), "total": total}
