"""Benchmark: every candidate alone, with copies, and from JPEG to label, in interleaved rounds so that drift hits all alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vegrt.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.infer.bench_cases import Case, Lap, Measure
from vegrt.infer.bench_inputs import gather_inputs
from vegrt.infer.bench_rounds import Laps, estimate_costs, interleave
from vegrt.infer.bench_setup import WARM_UP, Conditions, check_request, describe_conditions, measure_memory, open_all
from vegrt.infer.bench_stats import Samples, plan_rounds, summarize
from vegrt.infer.open import Candidate, describe
from vegrt.infer.power import watch_gpu
from vegrt.progress import track

if TYPE_CHECKING:
    from rich.table import Table

BATCHES = (1, 4, 16)
BUDGET_S = 40.0


def bench(
    bundle: Bundle,
    chosen: list[Candidate],
    *,
    rounds: int,
    batch_sizes: tuple[int, ...] = BATCHES,
    budget_s: float = BUDGET_S,
    conditions: Conditions | None = None,
) -> dict[str, Any]:
    """Return the body of a benchmark result (docs/results-format.md).

    Each round runs every case once, in an order that is shuffled anew (`interleave`); a case is a candidate, a batch size and a
    measure. rounds: at most so many. budget_s: seconds of timed rounds; to keep to it, dear cases sit rounds out (`plan_rounds`).
    """
    check_request(bundle, chosen, batch_sizes)
    if rounds < 1:
        raise VegrtError(f"{rounds} rounds; expected at least 1")
    conditions, largest = conditions or Conditions(), max(batch_sizes)
    inputs = gather_inputs(bundle, conditions.data, largest)
    opened = open_all(bundle, chosen, inputs, conditions, largest)
    counts = plan_rounds(estimate_costs(opened, batch_sizes, inputs.decode_s), budget_s, rounds)
    laps: Laps = {}
    with watch_gpu(any(one.rig.device == "cuda" for one in opened.values())) as gpu:
        for _ in track(interleave(opened, counts, budget_s, laps), "Benchmarking", sum(counts.values())):
            pass
    rows = []
    for one in chosen:
        row = _row(bundle, one, opened[one].load_s, _totals(laps, one, "batches"))
        rows.append(row | {"device": opened[one].rig.device} | _with_photos(laps, one, row["batches"]))
    for row, peak in zip(rows, measure_memory(bundle, opened, conditions, largest).values(), strict=True):
        row["peak_rss_mib"] = peak
    return {
        "scenario": "interleaved",
        "rounds": len(next(iter(laps.values()))),
        "warm_up": WARM_UP,
        **describe_conditions(conditions, inputs),
        "gpu": gpu.summary() if gpu else None,
        "candidates": rows,
    }


def bench_table(body: dict[str, Any]) -> Table:
    """Return the result of `bench` as a table for people."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    title = f"{body['rounds']} interleaved rounds, {body['threads']} threads: medians in ms, 95 % interval"
    sources = f"alone, copies: {body['images_source']}; JPEG to label, in one thread: {body['photos_source']}"
    table = Table(title=title, caption=escape(sources), box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("candidate", "batch", "runs", "alone", "p99", "images/s", "copies", "JPEG to label", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "candidate" else "right")
    for row in body["candidates"]:
        memory = f"{row['peak_rss_mib']:.0f}" if row["peak_rss_mib"] else ""
        points = zip(row["batches"], row["copies"], row["end_to_end"], strict=True)
        for index, (alone, copies, whole) in enumerate(points):
            span = f"{alone['p50_ms']:.2f} ({alone['p50_low_ms']:.2f} to {alone['p50_high_ms']:.2f})"
            figures = (f"{alone['p99_ms']:.2f}", f"{alone['images_per_s']:.1f}", *_medians(copies, whole))
            first = ("", "") if index else (row["key"], memory)
            table.add_row(first[0], str(alone["batch"]), str(alone["count"]), span, *figures, first[1])
    return table


def _medians(*points: dict[str, Any]) -> list[str]:
    return [f"{point['p50_ms']:.2f}" for point in points]


def _row(bundle: Bundle, candidate: Candidate, load_s: float, seconds: Mapping[int, Samples]) -> dict[str, Any]:
    """Return a candidate's row with its times alone. seconds: per batch size."""
    points = [summarize(batch, samples) for batch, samples in seconds.items()]
    return {**describe(bundle, candidate), "load_s": load_s, "batches": points}


def _with_photos(laps: Laps, candidate: Candidate, alone: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the two measures with copies, and the stages at batch 1 and at the batch that is fastest alone."""
    best = max(alone, key=lambda point: point["images_per_s"])["batch"]
    batches = [point["batch"] for point in alone]
    copies, whole = (_totals(laps, candidate, measure) for measure in ("copies", "end_to_end"))
    return {
        "copies": [summarize(batch, samples) for batch, samples in copies.items()],
        "end_to_end": [summarize(batch, samples) for batch, samples in whole.items()],
        "stages_ms": [
            _stages(batch, laps[Case(candidate, batch, "end_to_end")])
            for batch in dict.fromkeys((1, best))
            if batch in batches
        ],
    }


def _totals(laps: Laps, candidate: Candidate, measure: Measure) -> dict[int, Samples]:
    return {
        case.batch: [lap.total_s if lap else None for lap in found]
        for case, found in laps.items()
        if (case.candidate, case.measure) == (candidate, measure)
    }


def _stages(batch: int, laps: list[Lap | None]) -> dict[str, Any]:
    """Return the median milliseconds per image of each stage; medians, so they need not add up to the whole's."""
    taken = np.array([(lap.decode_s, lap.prepare_s, lap.run_s, lap.post_s) for lap in laps if lap])
    names = ("decode", "prepare", "run", "post")
    medians = np.median(taken, axis=0) * 1e3 / batch
    return {"batch": batch, **dict(zip(names, medians.tolist(), strict=True))}
