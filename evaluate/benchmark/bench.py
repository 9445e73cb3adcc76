"""Benchmark: every candidate alone, with copies, and from JPEG to label, in interleaved rounds so that drift hits all alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.budget import Budget, estimate_costs, measure_memory, reserve_for_memory
from vegrt.evaluate.benchmark.cases import Case, CaseTiming, Measure
from vegrt.evaluate.benchmark.inputs import gather_inputs
from vegrt.evaluate.benchmark.noise import describe_noise, listen, noise_words
from vegrt.evaluate.benchmark.power import watch_gpu
from vegrt.evaluate.benchmark.rounds import Laps, interleave
from vegrt.evaluate.benchmark.setup import (
    WARM_UP,
    Conditions,
    OpenedCandidate,
    check_request,
    describe_conditions,
    open_all,
)
from vegrt.evaluate.benchmark.statistics import Samples, plan_rounds, summarize
from vegrt.infer.runtimes.open import Candidate, describe
from vegrt.terminal.progress import track

if TYPE_CHECKING:
    from rich.table import Table

BATCHES = (1, 4, 16)
BUDGET_S = 60.0


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
    measure. rounds: at most so many. budget_s: seconds for everything, loading, warming up and memory included; to keep to it,
    dear cases sit rounds out (`plan_rounds`), and batch sizes and memory that do not fit are skipped and listed.
    """
    check_request(bundle, chosen, batch_sizes)
    if rounds < 1:
        raise VegrtError(f"{rounds} rounds; expected at least 1")
    heard, budget = listen(), Budget(budget_s)
    conditions, largest = conditions or Conditions(), max(batch_sizes)
    inputs = gather_inputs(bundle, conditions.data, largest)
    opened = open_all(bundle, chosen, inputs, conditions, largest)
    reserved_s = reserve_for_memory(opened, budget, wanted=conditions.memory)
    listener = listen()
    with watch_gpu(any(one.rig.device == "cuda" for one in opened.values())) as gpu:
        costs, laps = time_all(opened, batch_sizes, inputs.decode_s, budget, reserved_s, rounds)
    others = listener.others()
    rows = []
    for one in chosen:
        row = _row(bundle, one, opened[one].load_s, _totals(laps, one, "batches"))
        rows.append(row | {"device": opened[one].rig.device} | _with_photos(laps, one, row["batches"]))
    peaks = measure_memory(bundle, opened, conditions, largest, budget, costs)
    for row, peak in zip(rows, peaks.values(), strict=True):
        row["peak_rss_mib"] = peak
    return {
        "scenario": "interleaved",
        "rounds": len(next(iter(laps.values()))),
        "warm_up": WARM_UP,
        **budget.describe(),
        "noise": describe_noise(heard.load_average, others, rows),
        **describe_conditions(conditions, inputs),
        "gpu": gpu.summary() if gpu else None,
        "candidates": rows,
    }


def time_all(
    opened: Mapping[Candidate, OpenedCandidate],
    batch_sizes: tuple[int, ...],
    decode_s: float,
    budget: Budget,
    reserved_s: float,
    rounds: int,
) -> tuple[dict[Case, float], Laps]:
    """Return the estimated seconds of each case and its laps. reserved_s: of the budget, for what comes afterwards."""
    costs = estimate_costs(opened, batch_sizes, decode_s, budget, reserved_s)
    time_s = max(0.0, budget.left_s - reserved_s)
    counts = plan_rounds(costs, time_s, rounds)
    laps: Laps = {}
    made = interleave(opened, counts, time_s, laps, clock=budget.clock)
    for _ in track(made, "Benchmarking", sum(counts.values())):
        pass
    return costs, laps


def bench_table(body: dict[str, Any]) -> Table:
    """Return the result of `bench` as a table for people."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    title = f"{body['rounds']} interleaved rounds, {body['threads']} threads: medians in ms, 95 % interval"
    sources = f"alone, copies: {body['images_source']}; JPEG to label, in one thread: {body['photos_source']}"
    notes = [sources, skipped_words(body), noise_words(body)]
    table = Table(title=title, caption=escape("\n".join(filter(None, notes))), box=box.SIMPLE_HEAD, pad_edge=False)
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


def skipped_words(body: Mapping[str, Any]) -> str:
    """Return what did not fit into the budget, in words; empty when all did."""
    skipped = body.get("skipped") or ()
    keys = {row["key"] for row in body["candidates"]}
    by_batch: dict[int, list[str]] = {}
    for one in skipped:
        if one["what"] == "times":
            by_batch.setdefault(one["batch"], []).append(one["key"])
    said = [f"batch {batch} of {_all_or(found, keys)}" for batch, found in by_batch.items()]
    if peaks := [one["key"] for one in skipped if one["what"] == "memory"]:
        said.append(f"memory of {_all_or(peaks, keys)}")
    return f"not measured in {body['budget_s']:g} s: {'; '.join(said)}; raise --budget-s" if said else ""


def _all_or(found: list[str], keys: set[str]) -> str:
    return "all" if set(found) == keys and len(keys) > 1 else ", ".join(found)


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


def _stages(batch: int, laps: list[CaseTiming | None]) -> dict[str, Any]:
    """Return the median milliseconds per image of each stage; medians, so they need not add up to the whole's."""
    taken = np.array([(lap.decode_s, lap.prepare_s, lap.run_s, lap.post_s) for lap in laps if lap])
    names = ("decode", "prepare", "run", "post")
    medians = np.median(taken, axis=0) * 1e3 / batch
    return {"batch": batch, **dict(zip(names, medians.tolist(), strict=True))}
