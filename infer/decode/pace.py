"""Whether threads decode fast enough: measured while they do, by the consumer's waits and the time that the cores are idle."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

WINDOW_S = 2.0
_WAITS = 0.25  # share of a window that the consumer has to wait before another way is worth starting processes
_BUSY = 0.75  # share of the cores above which processes would only compete with the threads
_SOURCE = 0.5  # share of a window that goes by in the source: then nobody can decode faster
FEWEST_CORES = 3  # with two, threads and the runner use all there is


def has_lock() -> bool:
    """Return whether Python's threads share a lock: a free-threaded Python (3.13t, 3.14t) has none."""
    enabled = getattr(sys, "_is_gil_enabled", None)
    return enabled is None or bool(enabled())


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured for some seconds. waited_s: of the consumer. cpu_s: of the process. source_s: of all threads."""

    seconds: float
    images: int
    waited_s: float
    cpu_s: float
    source_s: float

    def shortfall(self, cores: float) -> str:
        """Return in words how threads fall short although cores are idle; empty where they do not, or the source is slow.

        cores: that the threads could use.
        """
        waits, busy = self.waited_s / self.seconds, self.cpu_s / self.seconds
        if cores < FEWEST_CORES or waits < _WAITS or busy > _BUSY * cores or self.source_s > _SOURCE * self.seconds:
            return ""
        rate = f"{self.images / self.seconds:.0f} images/s with {busy:.1f} of {cores:.0f} cores"
        return f"threads decode {rate}, and the model waits {waits:.0%} of the time"


@dataclass(slots=True)
class Pace:
    """Measures window after window. source_s: as the ring counts it, at the start."""

    source_s: float = 0.0
    _start: float = field(default_factory=time.perf_counter)
    _cpu: float = field(default_factory=time.process_time)
    _waited_s: float = 0.0
    _images: int = 0

    def note(self, waited_s: float, images: int, source_s: float) -> Window | None:
        """Count a batch; return a window when one is complete. source_s: seconds in the source so far."""
        self._waited_s += waited_s
        self._images += images
        now, cpu = time.perf_counter(), time.process_time()
        if now - self._start < WINDOW_S:
            return None
        window = Window(now - self._start, self._images, self._waited_s, cpu - self._cpu, source_s - self.source_s)
        self._start, self._cpu, self._waited_s, self._images, self.source_s = now, cpu, 0.0, 0, source_s
        return window
