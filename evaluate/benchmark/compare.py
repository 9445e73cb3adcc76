"""Comparison of benchmark results across devices, dates and versions: which cases became slower, with confidence intervals.

A ratio's interval comes from the timings in the files. It covers the variation within each run. Two runs of the same benchmark on
one machine can differ by more if the machine's state differs (load, temperature, clocks).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.read import BenchSamples, CaseSamples, read_samples
from vegrt.evaluate.benchmark.statistics import ratio_of_times
from vegrt.evaluate.statistics import CONFIDENCE, verdict_of
from vegrt.results.benchmark import Measure, Noise
from vegrt.results.common import Interval, Verdict
from vegrt.results.header import SCHEMA_VERSION
from vegrt.results.verdict import worst_verdict


@dataclass(frozen=True, slots=True)
class ComparedResult:
    """A result in a comparison. bundle: its name. noise: None if the file does not say."""

    path: str
    created: str
    bundle: str
    noise: Noise | None


@dataclass(frozen=True, slots=True)
class CircumstanceChange:
    """A circumstance that differs between two results."""

    what: str
    base: str
    new: str


@dataclass(frozen=True, slots=True)
class CaseComparison:
    """A candidate and batch size in two results. ratio: new / base, with its interval. paired: by rounds of the same run."""

    key: str
    base_key: str
    batch: int
    base_p50_ms: float
    new_p50_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    paired: bool
    same_artifact: bool
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class PairComparison:
    """The comparison of two results, or of one result's candidates with its first candidate."""

    base: ComparedResult
    new: ComparedResult
    differences: tuple[CircumstanceChange, ...]
    only_in_base: tuple[str, ...]
    only_in_new: tuple[str, ...]
    cases: tuple[CaseComparison, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The comparison of every later result with the first. limit, verdict: None without --fail-if-slower."""

    schema: str = "vegrt-compare"
    schema_version: int = SCHEMA_VERSION
    measure: Measure
    confidence: float
    limit: float | None
    pairs: tuple[PairComparison, ...]
    verdict: Verdict | None


def compare_benches(paths: list[Path], measure: Measure, *, limit: float | None = None) -> Comparison:
    """Return the comparison of every later result with the first, or of one result's candidates with its first candidate.

    paths: result files, or bundles, of which all benchmarks are read. limit: the largest ratio new / base of medians that passes,
    such as 1.1; with a limit, every case and the comparison get a verdict.
    Raises VegrtError for a file that is no benchmark result, and when two results share no candidate and batch size.
    """
    results = [read_samples(path, measure) for path in paths]
    base = results[0]
    pairs = tuple([_between(base, new, limit) for new in results[1:]] or [_within(base, limit)])
    verdicts = [case.verdict for pair in pairs for case in pair.cases if case.verdict]
    return Comparison(
        measure=measure,
        confidence=CONFIDENCE,
        limit=limit,
        pairs=pairs,
        verdict=worst_verdict(verdicts) if limit else None,
    )


def _between(base: BenchSamples, new: BenchSamples, limit: float | None) -> PairComparison:
    shared = [case for case in base.cases if case in new.cases]
    if not shared:
        raise VegrtError(
            f"{new.path}: shares no candidate and batch size with {base.path}; it has {new.summary}, the other {base.summary}"
        )
    return _pair(base, new, [_case(base.cases[case], new.cases[case], limit, paired=False) for case in shared])


def _within(result: BenchSamples, limit: float | None) -> PairComparison:
    """Compare one result's candidates with its first candidate, paired by round if the rounds were interleaved."""
    reference = next(iter(result.cases))[0]
    cases = [
        _case(result.cases[reference, batch], case, limit, paired=result.interleaved)
        for (key, batch), case in result.cases.items()
        if key != reference and (reference, batch) in result.cases
    ]
    if not cases:
        raise VegrtError(f"{result.path}: has only {result.summary}, nothing to compare; name a second result")
    return _pair(result, result, cases)


def _pair(base: BenchSamples, new: BenchSamples, cases: list[CaseComparison]) -> PairComparison:
    return PairComparison(
        base=_side(base),
        new=_side(new),
        differences=circumstance_changes(base.circumstances, new.circumstances),
        only_in_base=tuple(f"{key} at {batch}" for key, batch in base.cases if (key, batch) not in new.cases),
        only_in_new=tuple(f"{key} at {batch}" for key, batch in new.cases if (key, batch) not in base.cases),
        cases=tuple(cases),
    )


def _side(result: BenchSamples) -> ComparedResult:
    return ComparedResult(str(result.path), result.created, result.bundle, result.noise)


def circumstance_changes(base: dict[str, str], new: dict[str, str]) -> tuple[CircumstanceChange, ...]:
    """Return the circumstances that differ between two results."""
    changes = (CircumstanceChange(name, base.get(name, "none"), new.get(name, "none")) for name in base | new)
    return tuple(change for change in changes if change.base != change.new)


def _case(base: CaseSamples, new: CaseSamples, limit: float | None, *, paired: bool) -> CaseComparison:
    paired = paired and base.run == new.run and len(base.samples_ms) == len(new.samples_ms)
    ratio = ratio_of_times(base.samples_ms, new.samples_ms, paired=paired)
    return CaseComparison(
        key=new.key,
        base_key=base.key,
        batch=new.batch,
        base_p50_ms=base.p50_ms,
        new_p50_ms=new.p50_ms,
        ratio=ratio.value,
        ratio_low=ratio.low,
        ratio_high=ratio.high,
        paired=ratio.paired,
        same_artifact=base.artifact_sha256 == new.artifact_sha256,
        verdict=verdict_of(Interval(ratio.value, ratio.low, ratio.high), limit) if limit else None,
    )
