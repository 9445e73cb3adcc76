"""Bench: the content of results/bench*.json (docs/results-format.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from vegrt.results.common import OMITTED, CandidateRow, Figure, Milliseconds, Rate, Result, Size, check_unique
from vegrt.schema import NOT_EMPTY, Count, Label, Share

Measure = Literal["batches", "copies", "end_to_end"]
MEASURES: tuple[Measure, ...] = ("batches", "copies", "end_to_end")
Arithmetic = Literal["float32", "int8"]
ARITHMETICS: tuple[Arithmetic, ...] = ("float32", "int8")
_ARITHMETICS: dict[str, Arithmetic] = {"fp32": "float32", "int8": "int8", "int8-cpu": "int8"}  # of each variant


def arithmetic_of(variant: str) -> Arithmetic | None:
    """Return the arithmetic of a variant's multiplications; None for one whose limit is not measured, such as bf16."""
    return _ARITHMETICS.get(variant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The times of one measure at one batch size, as quantiles with intervals.

    limit_share: images_per_s as a share of what the CPU can multiply in this arithmetic, of `batches` only. samples_ms: None for
    a skipped round. Intervals of p90 and p99 need 10 and 100 timings. Old files have fewer fields.
    """

    batch: Size
    p50_ms: Milliseconds
    p50_low_ms: Annotated[Milliseconds | None, OMITTED] = None
    p50_high_ms: Annotated[Milliseconds | None, OMITTED] = None
    p90_ms: Annotated[Milliseconds | None, OMITTED] = None
    p90_low_ms: Annotated[Milliseconds | None, OMITTED] = None
    p90_high_ms: Annotated[Milliseconds | None, OMITTED] = None
    p99_ms: Annotated[Milliseconds | None, OMITTED] = None
    p99_low_ms: Annotated[Milliseconds | None, OMITTED] = None
    p99_high_ms: Annotated[Milliseconds | None, OMITTED] = None
    images_per_s: Rate
    images_per_s_low: Annotated[Rate | None, OMITTED] = None
    images_per_s_high: Annotated[Rate | None, OMITTED] = None
    limit_share: Annotated[Figure | None, OMITTED] = None
    count: Annotated[Count | None, OMITTED] = None
    samples_ms: Annotated[tuple[float | None, ...] | None, OMITTED] = None


@dataclass(frozen=True, slots=True)
class Stages:
    """Median milliseconds per image of each stage from JPEG to label, at one batch size."""

    batch: Size
    decode: Figure
    prepare: Figure
    run: Figure
    post: Figure


@dataclass(frozen=True, kw_only=True)
class BenchCandidate(CandidateRow):
    """A candidate's times by measure. load_s, first_answer_s and peak_rss_mib: None where they were not measured.

    first_answer_s: in a new process, from importing the runtime's library to the answer for one image.
    """

    load_s: Annotated[Figure | None, OMITTED] = None
    first_answer_s: Annotated[Figure | None, OMITTED] = None
    batches: Annotated[tuple[Timing, ...], NOT_EMPTY]
    copies: Annotated[tuple[Timing, ...] | None, OMITTED] = None
    end_to_end: Annotated[tuple[Timing, ...] | None, OMITTED] = None
    stages_ms: Annotated[tuple[Stages, ...] | None, OMITTED] = None
    peak_rss_mib: Figure | None = None

    def timings(self, measure: Measure) -> Sequence[Timing]:
        """Return the times of a measure, one for each batch size."""
        return {"batches": self.batches, "copies": self.copies, "end_to_end": self.end_to_end}[measure] or ()


@dataclass(frozen=True, slots=True)
class GpuReading:
    """Mean and maximum of a quantity sampled while the GPU ran."""

    mean: Figure
    max: Figure


@dataclass(frozen=True, slots=True)
class GpuRecord:
    """The GPU that ran. memory_mib: used by all processes. None: not reported."""

    name: Label | None = None
    driver: Label | None = None
    power_w: GpuReading | None = None
    clock_mhz: GpuReading | None = None
    temperature_c: GpuReading | None = None
    memory_mib: GpuReading | None = None


@dataclass(frozen=True, slots=True)
class MachineLimit:
    """The multiplications (each with an addition) per second of a large matrix product in a runtime on the CPU."""

    runtime: Label
    arithmetic: Arithmetic
    threads: Size
    macs_per_s: Rate


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise during a benchmark. others_share: share of the cores' time that other programs used. None: unknown.

    interval_share: width of a median's interval as a share of the median. busy, wide: whether these are too large.
    """

    load_average: Figure | None
    installed_cores: Count
    others_share: Share | None
    interval_share: Figure | None
    busy: bool
    wide: bool

    @property
    def is_noisy(self) -> bool:
        """Return whether the times are doubtful."""
        return self.busy or self.wide


@dataclass(frozen=True, slots=True)
class Skipped:
    """A measurement that did not fit into the time budget. what: times of a batch size, or the peak memory."""

    key: Label
    batch: Size
    what: Literal["times", "memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """An MLPerf-style scenario, with its own minima and those of MLPerf. metric: path of its metric in a candidate."""

    compliant: bool
    name: Label
    metric: Label
    min_queries: Annotated[Count | None, OMITTED] = None
    mlperf_min_queries: Annotated[Count | None, OMITTED] = None
    min_samples: Annotated[Count | None, OMITTED] = None
    mlperf_min_samples: Annotated[Count | None, OMITTED] = None
    min_duration_s: Figure
    mlperf_min_duration_s: Figure


@dataclass(frozen=True, kw_only=True)
class Bench(Result):
    """A benchmark. preset: of a scenario only. budget_s, elapsed_s, skipped: of interleaved rounds only.

    limits: of the CPU, by runtime, arithmetic and threads; empty if none could be measured in the budget. macs_per_image: of the
    network; None if the manifest does not state it. Old files have fewer fields.
    """

    KIND: ClassVar[str] = "bench"

    scenario: Annotated[Label | None, OMITTED] = None
    preset: Annotated[Preset | None, OMITTED] = None
    rounds: Annotated[Count | None, OMITTED] = None
    warm_up: Annotated[Count | None, OMITTED] = None
    budget_s: Annotated[Figure | None, OMITTED] = None
    elapsed_s: Annotated[Figure | None, OMITTED] = None
    skipped: Annotated[tuple[Skipped, ...] | None, OMITTED] = None
    noise: Noise | None = None
    threads: Annotated[Count | None, OMITTED] = None
    images_source: Annotated[str | None, OMITTED] = None
    photos_source: Annotated[str | None, OMITTED] = None
    gpu: GpuRecord | None = None
    limits: Annotated[tuple[MachineLimit, ...] | None, OMITTED] = None
    macs_per_image: Annotated[Size | None, OMITTED] = None
    candidates: tuple[BenchCandidate, ...]

    def __post_init__(self) -> None:
        check_unique([row.key for row in self.candidates])

    @property
    def gpu_name(self) -> str:
        """Return the name of the GPU that ran; empty if none did or it is unknown."""
        return self.machine.gpu or (self.gpu.name if self.gpu and self.gpu.name else "")

    def limit(self, arithmetic: Arithmetic) -> MachineLimit | None:
        """Return the highest limit of an arithmetic with the benchmark's number of threads; None if it was not measured."""
        limits = [
            limit for limit in self.limits or () if (limit.arithmetic, limit.threads) == (arithmetic, self.threads)
        ]
        return max(limits, key=lambda limit: limit.macs_per_s, default=None)
