"""Objectives for the choice of the fastest candidate in `infer`, `serve` and the report: latency of one photo, or throughput.

For a known number of photos `infer` minimises the time for all of them instead, with loading (decision 0029).

Throughput is photos per second at the best batch size. Both objectives use the network alone (the measure `batches` of a
benchmark): decoding and post-processing cost the same for all candidates and would hide the differences. Decision 0020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from vegrt.results.benchmark import BenchCandidate, Timing

Objective = Literal["latency", "throughput"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
DEFAULT: Objective = "latency"


@dataclass(frozen=True, slots=True)
class Work:
    """A known number of photos, answered in batches. more: whether there may be more photos."""

    images: int
    batch: int
    more: bool = False

    def __str__(self) -> str:
        """Return the number of photos in words."""
        return f"{self.images:,} photo{'' if self.images == 1 else 's'}{' or more' if self.more else ''}"


@dataclass(frozen=True, slots=True)
class WorkTime:
    """The expected seconds of a candidate in a new process: until its first answer, and until all photos are answered."""

    first_s: float
    total_s: float

    def __str__(self) -> str:
        rest = f", all after about {self.total_s:.2f} s" if self.total_s > self.first_s else ""
        return f"first answer after {self.first_s:.2f} s{rest}"


def work_time(row: BenchCandidate, work: Work) -> WorkTime | None:
    """Return the time of a candidate for some work; None where its first answer was not measured."""
    if row.first_answer_s is None:
        return None
    batches, rest = divmod(work.images, work.batch)
    ms = batches * _batch_ms(row.batches, work.batch) + (_batch_ms(row.batches, rest) if rest else 0.0)
    after_first_ms = max(0.0, ms - _batch_ms(row.batches, 1))
    return WorkTime(row.first_answer_s, row.first_answer_s + after_first_ms / 1e3)


def _batch_ms(timings: Sequence[Timing], batch: int) -> float:
    """Return the median milliseconds of a batch, interpolated between the sizes that were timed; in proportion beyond them."""
    below = max((timing for timing in timings if timing.batch <= batch), key=lambda timing: timing.batch, default=None)
    above = min((timing for timing in timings if timing.batch >= batch), key=lambda timing: timing.batch, default=None)
    if below is None or above is None:
        nearest = below or above
        assert nearest is not None, "a row has timings"
        return nearest.p50_ms * batch / nearest.batch
    if below.batch == above.batch:
        return below.p50_ms
    share = (batch - below.batch) / (above.batch - below.batch)
    return below.p50_ms + share * (above.p50_ms - below.p50_ms)


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
