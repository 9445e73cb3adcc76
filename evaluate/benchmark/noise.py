"""Noise of a benchmark: the machine's load, the share of CPU time that other programs used, and the width of the intervals."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vegrt.machine import affinity, installed_cores
from vegrt.results.benchmark import BenchCandidate, Noise

OTHERS = 0.1  # largest share of the cores' time that other programs may use
LOAD = 0.5  # largest load per core; used only if OTHERS cannot be checked, because the load includes the last minute's programs
INTERVAL = 0.1  # largest width of a median's interval, as a share of the median
PROC_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # columns idle and iowait of /proc/stat (proc_stat(5))
_GUESTS = 8  # first of the guest columns, which are already included in the first two


@dataclass(frozen=True, slots=True)
class NoiseMeter:
    """The machine's state at the start of the timing.

    busy_s: seconds that all programs have used the cores of this process, since the machine started; None: unknown.
    own_s: CPU seconds of this process. stat: the file that states the use of the cores.
    """

    load_average: float | None
    began_s: float
    busy_s: float | None
    own_s: float
    stat: Path

    def others_share(self) -> float | None:
        """Return the share of this process's cores that other programs used since the start; None if it cannot be read."""
        cores, wall_s = affinity(), time.perf_counter() - self.began_s
        busy_s = _busy_s(self.stat, cores)
        if busy_s is None or self.busy_s is None or wall_s <= 0:
            return None
        used_s, own_s = busy_s - self.busy_s, time.process_time() - self.own_s
        return min(1.0, max(0.0, used_s - own_s) / (wall_s * len(cores)))


def start_meter(stat: Path = PROC_STAT) -> NoiseMeter:
    """Return a meter that starts now. stat: a file in the form of /proc/stat."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return NoiseMeter(load, time.perf_counter(), _busy_s(stat, affinity()), time.process_time(), stat)


def measure_noise(load_average: float | None, others: float | None, candidates: Sequence[BenchCandidate]) -> Noise:
    """Return the noise of a benchmark. others: share of other programs. candidates: the intervals of `batches` are used."""
    cores = installed_cores()
    timings = [timing for row in candidates for timing in row.batches]
    widths = [
        (timing.p50_high_ms - timing.p50_low_ms) / timing.p50_ms
        for timing in timings
        if timing.p50_low_ms is not None and timing.p50_high_ms is not None
    ]
    width = statistics.median(widths) if widths else None
    busy = others > OTHERS if others is not None else (load_average or 0.0) > LOAD * cores
    return Noise(load_average, cores, others, width, busy, wide=width is not None and width > INTERVAL)


def _busy_s(stat: Path, cores: set[int]) -> float | None:
    """Return the seconds that these cores have been busy since the machine started; None if they cannot be read."""
    try:
        lines = stat.read_text(encoding="ascii").splitlines()
        ticks = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
    busy = 0
    for name, *columns in (line.split() for line in lines if line.startswith("cpu")):
        if name[3:].isdigit() and int(name[3:]) in cores:
            busy += sum(int(value) for index, value in enumerate(columns[:_GUESTS]) if index not in _IDLE)
    return busy / ticks if busy else None
