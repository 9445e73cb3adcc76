"""Benchmarks and their comparison as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vegrt.evaluate.benchmark.compare import Comparison, PairComparison
from vegrt.evaluate.wording import MLPERF_STYLE, noise_warning, skipped_sentence
from vegrt.infer.autostreams import MIN_CORES
from vegrt.results.benchmark import ARITHMETICS, Bench, BenchCandidate, Measure, Noise, Timing
from vegrt.results.common import Verdict
from vegrt.terminal.tables import make_table

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

_NOT_MEASURED = "not measured"
_MEASURE_NAMES: dict[Measure, str] = {"batches": "alone", "copies": "with copies", "end_to_end": "JPEG to label"}


def bench_table(bench: Bench) -> Table:
    """Return a benchmark of interleaved rounds as a table."""
    rows = []
    for row in bench.candidates:
        memory = f"{row.peak_rss_mib:.0f}" if row.peak_rss_mib else ""
        start = f"{row.first_answer_s:.2f}" if row.first_answer_s else ""
        timings = zip(row.batches, row.timings("copies"), row.timings("end_to_end"), strict=True)
        for index, (alone, copies, end_to_end) in enumerate(timings):
            span = f"{alone.p50_ms:.2f} ({alone.p50_low_ms:.2f} to {alone.p50_high_ms:.2f})"
            figures = (
                f"{alone.p99_ms:.2f}",
                f"{alone.images_per_s:.1f}",
                f"{copies.p50_ms:.2f}",
                f"{end_to_end.p50_ms:.2f}",
            )
            name, *once = ("", "", "") if index else (row.key, start, memory)
            rows.append((name, str(alone.batch), str(alone.count), span, *figures, *_share(bench, row, alone), *once))
    sources = f"alone, copies: {bench.images_source}; JPEG to label, in one thread: {bench.photos_source}"
    return make_table(
        f"{bench.rounds} interleaved rounds, {bench.threads} threads: medians in ms, 95 % interval",
        (
            "candidate",
            "batch",
            "runs",
            "alone",
            "p99",
            "images/s",
            "copies",
            "JPEG to label",
            *_share_heading(bench),
            "start s",
            "peak MiB",
        ),
        rows,
        notes=[sources, _limits_note(bench), _streams_note(bench), skipped_sentence(bench), _noise_note(bench.noise)],
        text=("candidate",),
    )


def scenario_table(bench: Bench) -> Table:
    """Return a benchmark of a preset as a table."""
    preset, single = bench.preset, bench.scenario == "single-stream"
    assert preset is not None
    rows = []
    for row in bench.candidates:
        (timing,) = row.timings("copies")
        figures = (timing.p90_ms, timing.p90_low_ms, timing.p90_high_ms)
        if not single:
            figures = (timing.images_per_s, timing.images_per_s_low, timing.images_per_s_high)
        value, low, high, p50, p99 = (f"{figure:.2f}" for figure in (*figures, timing.p50_ms, timing.p99_ms))
        images = str((timing.count or 0) * timing.batch)
        share = _share(bench, row, row.batches[0])
        rows.append((row.key, str(timing.batch), images, value, f"{low} to {high}", p50, p99, *share))
    conditions = f"{bench.threads} threads, at least {preset.min_duration_s:g} s each; images: {bench.images_source}"
    return make_table(
        f"{preset.name}: {MLPERF_STYLE}",
        (
            "candidate",
            "batch",
            "images",
            "p90 ms" if single else "images/s",
            "95 %",
            "p50 ms",
            "p99 ms",
            *_share_heading(bench),
        ),
        rows,
        notes=[conditions, _limits_note(bench), _streams_note(bench), _noise_note(bench.noise)],
        text=("candidate",),
    )


def comparison_tables(comparison: Comparison) -> Group:
    """Return a comparison as tables, one for each pair, followed by the circumstances that differ."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for pair in comparison.pairs:
        parts.append(_pair_table(pair, comparison.measure, comparison.limit))
        parts += [Text(f"{change.what}: {change.base} -> {change.new}") for change in pair.differences]
        for path, noise in {side.path: side.noise for side in (pair.base, pair.new)}.items():
            parts += [Text(f"{path}: {sentence}")] if (sentence := _noise_note(noise)) else []
        for side, unmatched in ((pair.base, pair.only_in_base), (pair.new, pair.only_in_new)):
            parts += [Text(f"only in {side.path}: {', '.join(unmatched)}")] if unmatched else []
    if comparison.verdict:
        parts.append(Text(_conclusion(comparison, comparison.verdict)))
    return Group(*parts)


def _limits_note(bench: Bench) -> str:
    """Return what the shares of a benchmark refer to, or why it has none; empty if they were not asked for."""
    if bench.limits is None:
        return ""
    if not bench.limits:
        return "share of the CPU's limit: not measured; it needs ONNX Runtime or OpenVINO, and --budget-s 20 or more"
    if bench.macs_per_image is None:
        again = f"vegrt export {bench.bundle.name} --data DATA --overwrite"
        return f"share of the CPU's limit: unknown, the manifest does not state the network's multiplications; {again}"
    limits = (bench.limit(arithmetic) for arithmetic in ARITHMETICS)
    shown = ", ".join(f"{limit.macs_per_s / 1e9:,.0f} in {limit.arithmetic}" for limit in limits if limit)
    network = f"the network has {bench.macs_per_image / 1e9:.3g} GMAC"
    return f"limit of this CPU in GMAC/s: {shown}; {network}; Winograd (MNN) saves some: it may exceed 100 %"


def _share_heading(bench: Bench) -> tuple[str, ...]:
    return ("of limit",) if bench.limits and bench.macs_per_image else ()


def _share(bench: Bench, row: BenchCandidate, timing: Timing) -> tuple[str, ...]:
    """Return the cell under the heading of the shares; no cell where there is no such column."""
    if not _share_heading(bench):
        return ()
    if timing.limit_share is None:
        return (_NOT_MEASURED if row.device == "cpu" else "",)
    return (f"{timing.limit_share:.0%}",)


def _streams_note(bench: Bench) -> str:
    """Return which of OpenVINO's settings was timed, where `infer` may choose another."""
    may_differ = (bench.threads or 0) >= MIN_CORES and any(row.runtime == "openvino" for row in bench.candidates)
    return "openvino: one request on all threads; infer also tries streams for many photos" if may_differ else ""


def _noise_note(noise: Noise | None) -> str:
    warning = noise_warning(noise)
    return f"noisy: {warning}" if warning else ""


def _pair_table(pair: PairComparison, measure: Measure, limit: float | None) -> Table:
    base, new, first = pair.base, pair.new, pair.cases[0]
    reference = f"{base.path} ({base.created})" if first.base_key == first.key else first.base_key
    paired = "; paired: median of the rounds' ratios" if any(case.paired for case in pair.cases) else ""
    measured = (
        f"medians, {_MEASURE_NAMES[measure]}; ratio above 1: slower; 95 % interval of the variation within the runs"
    )
    rows = []
    for case in pair.cases:
        times = (f"{case.base_p50_ms:.2f}", f"{case.new_p50_ms:.2f}", f"{case.ratio:.3f}")
        span = f"{case.ratio_low:.3f} to {case.ratio_high:.3f}{' paired' if case.paired else ''}"
        rows.append((case.key, str(case.batch), *times, span, *((case.verdict,) if case.verdict else ())))
    return make_table(
        f"{new.path} ({new.created}) against {reference}",
        ("candidate", "batch", "base ms", "new ms", "ratio", "95 %", *(("verdict",) if limit else ())),
        rows,
        notes=[f"{measured}{paired}"],
        text=("candidate", "verdict"),
    )


def _conclusion(comparison: Comparison, verdict: Verdict) -> str:
    verdicts = [case.verdict for pair in comparison.pairs for case in pair.cases]
    cases = f"{verdicts.count(verdict)} of {len(verdicts)} cases"
    missing = sum(len(pair.only_in_base) for pair in comparison.pairs)
    limit = f"{comparison.limit:g} times the base"
    words = {
        "PASS": f"{cases} stay below {limit}",
        "FAIL": f"{cases} are significantly slower than {limit}",
        "INCONCLUSIVE": f"{cases} may or may not exceed {limit}; more rounds narrow the interval",
    }
    return f"{verdict}: {words[verdict]}{f'; {missing} cases of the base were not compared' if missing else ''}"
