"""The schema of results/bench*.json (docs/results-format.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from vegrt.results.common import Candidate, Figure, Header, Milliseconds, Rate, Size, check_unique
from vegrt.schema import NOT_EMPTY, Count, Label


@dataclass(frozen=True, slots=True)
class Point:
    """The times of one batch size. samples_ms: null for a round that was sat out."""

    batch: Size
    p50_ms: Milliseconds
    images_per_s: Rate
    count: Count | None = None
    p90_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None
    p50_low_ms: Milliseconds | None = None
    p50_high_ms: Milliseconds | None = None
    images_per_s_low: Rate | None = None
    images_per_s_high: Rate | None = None
    samples_ms: tuple[float | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class Stages:
    """Medians per image, in milliseconds."""

    batch: Size
    decode: Figure
    prepare: Figure
    run: Figure
    post: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCandidate(Candidate):
    """A candidate's times, alone and with what is around it."""

    batches: Annotated[tuple[Point, ...], NOT_EMPTY]
    copies: tuple[Point, ...] | None = None
    end_to_end: tuple[Point, ...] | None = None
    stages_ms: tuple[Stages, ...] | None = None
    load_s: Figure | None = None
    peak_rss_mib: Figure | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU that ran."""

    name: Label | None = None
    driver: Label | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchFile(Header):
    """A benchmark."""

    candidates: tuple[MeasuredCandidate, ...]
    rounds: Count | None = None
    threads: Count | None = None
    scenario: Label | None = None
    images_source: str | None = None
    photos_source: str | None = None
    gpu: Gpu | None = None

    def __post_init__(self) -> None:
        check_unique([row.key for row in self.candidates])
