"""How quiet a machine was while it was timed: its load, what other programs took of the cores, and how wide the intervals are."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vegrt.machine import affinity, installed_cores

OTHERS = 0.1  # share of the cores' time that other programs may take
LOAD = 0.5  # per core; judged only where the former cannot be read, because what ended a minute ago is still in it
INTERVAL = 0.1  # width of a median's interval, as a share of the median
_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # idle and iowait among the columns of /proc/stat (proc_stat(5))
_GUESTS = 8  # columns from here on are counted in the first ones already


@dataclass(frozen=True, slots=True)
class Listener:
    """What was read when the timing began. busy_s: of the cores that this process may use, by all programs; None: unknown."""

    load_average: float | None
    began_s: float
    busy_s: float | None
    own_s: float

    def others(self) -> float | None:
        """Return the share of our cores' time that other programs took since; None where that cannot be read."""
        cores, wall_s = affinity(), time.perf_counter() - self.began_s
        busy_s = _busy_s(cores)
        if busy_s is None or self.busy_s is None or wall_s <= 0:
            return None
        spent, own = busy_s - self.busy_s, time.process_time() - self.own_s
        return min(1.0, max(0.0, spent - own) / (wall_s * len(cores)))


def listen() -> Listener:
    """Begin to listen; of the load average, what it is now."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Listener(load, time.perf_counter(), _busy_s(affinity()), time.process_time())


def describe_noise(
    load_average: float | None, others: float | None, candidates: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what a result file says of it. candidates: its rows, whose intervals of `batches` are looked at."""
    cores = installed_cores()
    points = [point for row in candidates for point in row["batches"]]
    widths = [(point["p50_high_ms"] - point["p50_low_ms"]) / point["p50_ms"] for point in points]
    width = statistics.median(widths) if widths else None
    busy = others > OTHERS if others is not None else (load_average or 0.0) > LOAD * cores
    return {
        "load_average": load_average,
        "installed_cores": cores,
        "others_share": others,
        "interval_share": width,
        "busy": busy,
        "wide": width is not None and width > INTERVAL,
    }


def is_noisy(bench: Mapping[str, Any]) -> bool:
    """Return whether a benchmark was; one that does not say so is taken as quiet."""
    noise = bench.get("noise")
    return isinstance(noise, Mapping) and bool(noise.get("busy") or noise.get("wide"))


def noise_words(bench: Mapping[str, Any]) -> str:
    """Return what made a benchmark noisy, in words; empty when it was quiet or does not say."""
    if not is_noisy(bench):
        return ""
    noise, said = bench["noise"], []
    if noise["busy"]:
        load = f"load average {noise['load_average']:.1f} on {noise['installed_cores']} cores at the start"
        others = noise["others_share"]
        said.append(load if others is None else f"other programs took {others:.0%} of the cores ({load})")
    if noise["wide"]:
        said.append(f"half of the intervals are wider than {noise['interval_share']:.0%} of their median")
    return f"noisy: {'; '.join(said)}; repeat it on a quiet machine"


def _busy_s(cores: set[int]) -> float | None:
    """Return the seconds that these cores have not been idle since the machine started."""
    try:
        lines = _STAT.read_text(encoding="ascii").splitlines()
        ticks = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
    busy = 0
    for name, *columns in (line.split() for line in lines if line.startswith("cpu")):
        if name[3:].isdigit() and int(name[3:]) in cores:
            busy += sum(int(value) for index, value in enumerate(columns[:_GUESTS]) if index not in _IDLE)
    return busy / ticks if busy else None
