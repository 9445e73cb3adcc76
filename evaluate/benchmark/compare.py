"""Comparison of benchmark results across devices, dates and versions: which case became slower, beyond doubt or not.

A ratio's interval comes from the timings that the files hold. It covers what varied within each run; two runs of the same thing
on one machine differ by more than that when the machine was in another state (other load, hotter, other clocks).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.cases import Measure
from vegrt.evaluate.benchmark.read import Result, Timing, differences, read_bench
from vegrt.evaluate.benchmark.statistics import Ratio, ratio_of_times
from vegrt.evaluate.statistics import CONFIDENCE, Interval, Verdict, verdict_of

if TYPE_CHECKING:
    from rich.console import Group

SCHEMA_VERSION = 1
_WORDS: dict[Measure, str] = {"batches": "alone", "copies": "with copies", "end_to_end": "JPEG to label"}


def compare(paths: list[Path], measure: Measure, *, limit: float | None = None) -> dict[str, Any]:
    """Return the comparison of every later result with the first, or of one result's candidates with its first candidate.

    paths: result files, or bundles, which stand for their results/bench.json. limit: the largest ratio new / base of medians that
    passes, such as 1.1; then every case and the whole get a verdict (`judge`): PASS, FAIL or INCONCLUSIVE.
    Raises VegrtError for what is no benchmark result, and when two results share no candidate and batch size.
    """
    results = [read_bench(path, measure) for path in paths]
    base = results[0]
    pairs = [_between(base, other, limit) for other in results[1:]] or [_within(base, limit)]
    return {
        "schema": "vegrt-compare",
        "schema_version": SCHEMA_VERSION,
        "measure": measure,
        "confidence": CONFIDENCE,
        "limit": limit,
        "pairs": pairs,
        "verdict": worst(case["verdict"] for pair in pairs for case in pair["cases"]) if limit else None,
    }


def worst(verdicts: Iterator[Verdict]) -> Verdict:
    """Return FAIL if any is, else INCONCLUSIVE if any is, else PASS."""
    found = set(verdicts)
    order: tuple[Verdict, ...] = ("FAIL", "INCONCLUSIVE")
    return next((verdict for verdict in order if verdict in found), "PASS")


def comparison_tables(body: dict[str, Any]) -> Group:
    """Return the comparison as tables for people, one per pair, what differs beside the times below each."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = []
    for pair in body["pairs"]:
        parts.append(_table(pair, body["measure"], body["limit"]))
        parts += [Text(f"{one['what']}: {one['base']} -> {one['new']}") for one in pair["differences"]]
        for path, noise in {pair[which]["path"]: pair[which]["noise"] for which in ("base", "new")}.items():
            parts += [Text(f"{path}: {noise}")] if noise else []
        for which in ("base", "new"):
            if alone := pair[f"only_in_{which}"]:
                parts.append(Text(f"only in {pair[which]['path']}: {', '.join(alone)}"))
    if body["verdict"]:
        parts.append(Text(_conclusion(body)))
    return Group(*parts)


def _conclusion(body: dict[str, Any]) -> str:
    verdicts = [case["verdict"] for pair in body["pairs"] for case in pair["cases"]]
    told = f"{verdicts.count(body['verdict'])} of {len(verdicts)} cases"
    missing = sum(len(pair["only_in_base"]) for pair in body["pairs"])
    unknown = f"; of {missing} more of the base nothing is known" if missing else ""
    words: dict[Verdict, str] = {
        "PASS": f"{told} stay below {body['limit']:g} times the base",
        "FAIL": f"{told} are beyond doubt slower than {body['limit']:g} times the base",
        "INCONCLUSIVE": f"{told} leave open whether they exceed {body['limit']:g} times the base; more rounds narrow it",
    }
    return f"{body['verdict']}: {words[body['verdict']]}{unknown}"


def _table(pair: dict[str, Any], measure: Measure, limit: float | None) -> Any:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    base, new = pair["base"], pair["new"]
    first = pair["cases"][0]
    reference = f"{base['path']} ({base['created']})" if first["base_key"] == first["key"] else first["base_key"]
    title = f"{new['path']} ({new['created']}) against {reference}"
    caption = f"medians, {_WORDS[measure]}; ratio above 1: slower; 95 % interval of what varied within the runs"
    if any(case["paired"] for case in pair["cases"]):
        caption += "; paired: median of the rounds' ratios"
    table = Table(title=escape(title), caption=caption, box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("candidate", "batch", "base ms", "new ms", "ratio", "95 %", *(("verdict",) if limit else ())):
        table.add_column(heading, justify="left" if heading in ("candidate", "verdict") else "right")
    for case in pair["cases"]:
        times = (f"{case['base_p50_ms']:.2f}", f"{case['new_p50_ms']:.2f}", f"{case['ratio']:.3f}")
        span = f"{case['ratio_low']:.3f} to {case['ratio_high']:.3f}{' paired' if case['paired'] else ''}"
        table.add_row(case["key"], str(case["batch"]), *times, span, *((case["verdict"],) if limit else ()))
    return table


def _between(base: Result, new: Result, limit: float | None) -> dict[str, Any]:
    shared = [case for case in base.timings if case in new.timings]
    if not shared:
        raise VegrtError(
            f"{new.path}: nothing in common with {base.path}; it holds {new.summary}, the other {base.summary}"
        )
    cases = [_case(base.timings[one], new.timings[one], limit, paired=False) for one in shared]
    return _pair(base, new, cases)


def _within(result: Result, limit: float | None) -> dict[str, Any]:
    """Compare one result's candidates with its first; where the rounds were interleaved, pairs of the same round."""
    reference = next(iter(result.timings))[0]
    cases = [
        _case(result.timings[reference, batch], timing, limit, paired=result.interleaved)
        for (key, batch), timing in result.timings.items()
        if key != reference and (reference, batch) in result.timings
    ]
    if not cases:
        raise VegrtError(f"{result.path}: holds {result.summary}, nothing to compare it with; name a second result")
    return _pair(result, result, cases)


def _pair(base: Result, new: Result, cases: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "base": base.heading,
        "new": new.heading,
        "differences": differences(base, new),
        "only_in_base": [f"{key} at {batch}" for key, batch in base.timings if (key, batch) not in new.timings],
        "only_in_new": [f"{key} at {batch}" for key, batch in new.timings if (key, batch) not in base.timings],
        "cases": cases,
    }


def _case(base: Timing, new: Timing, limit: float | None, *, paired: bool) -> dict[str, Any]:
    paired = paired and len(base.samples_ms) == len(new.samples_ms)
    ratio = ratio_of_times(base.samples_ms, new.samples_ms, paired=paired)
    return {
        "key": new.key,
        "base_key": base.key,
        "batch": new.batch,
        "base_p50_ms": base.p50_ms,
        "new_p50_ms": new.p50_ms,
        "ratio": ratio.value,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "paired": ratio.paired,
        "same_artifact": base.artifact_sha256 == new.artifact_sha256,
        "verdict": _verdict(ratio, limit) if limit else None,
    }


def _verdict(ratio: Ratio, limit: float) -> Verdict:
    return verdict_of(Interval(ratio.value, ratio.low, ratio.high), limit)
