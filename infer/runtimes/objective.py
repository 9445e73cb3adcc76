"""Objectives for the choice of the fastest candidate in `infer`, `serve` and the report: latency of one photo, or throughput.

Throughput is photos per second at the best batch size. Both objectives use the network alone (the measure `batches` of a
benchmark): decoding and post-processing cost the same for all candidates and would hide the differences. Decision 0020.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from vegrt.results.benchmark import Timing

Objective = Literal["latency", "throughput"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
DEFAULT: Objective = "latency"


def single_photo(timings: Sequence[Timing]) -> Timing | None:
    """Return the timing of batch size 1; None where it was not measured."""
    return next((timing for timing in timings if timing.batch == 1), None)


def best_batch(timings: Sequence[Timing]) -> Timing | None:
    """Return the timing with the most images per second; None without timings."""
    return max(timings, key=lambda timing: timing.images_per_s, default=None)


def objective_timing(timings: Sequence[Timing], objective: Objective) -> Timing | None:
    """Return the timing that the objective compares; None where it was not measured."""
    return single_photo(timings) if objective == "latency" else best_batch(timings)


def cost_ms(timings: Sequence[Timing], objective: Objective) -> float | None:
    """Return the median milliseconds per photo for the objective; None where it was not measured."""
    return timing_cost_ms(objective_timing(timings, objective), objective)


def timing_cost_ms(timing: Timing | None, objective: Objective) -> float | None:
    """Return the median milliseconds per photo of the timing that the objective compares; None for None."""
    if timing is None:
        return None
    return timing.p50_ms if objective == "latency" else 1e3 / timing.images_per_s


def preference(cost: float | None, size_bytes: int, key: str) -> tuple[float, int, str]:
    """Return a candidate's sort key, best first: by cost for the objective, then by file size, then by key."""
    return (float("inf") if cost is None else cost, size_bytes, key)
