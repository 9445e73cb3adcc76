"""MLPerf-style scenarios, not compliant: one image after the other (SingleStream), and a large set in one go (Offline).

What is taken from the MLPerf inference rules (github.com/mlcommons: inference_policies, and inference's mlperf.conf): the metric,
queries drawn with replacement from a pool, and minima of time and count, here scaled down. What is missing: LoadGen, the
reference models and data, the accuracy run, the early-stopping penalty, the audit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.budget import Budget, measure_memory
from vegrt.evaluate.benchmark.cases import CaseTiming, TimedRunner
from vegrt.evaluate.benchmark.inputs import gather_inputs
from vegrt.evaluate.benchmark.noise import describe_noise, listen, noise_words
from vegrt.evaluate.benchmark.power import watch_gpu
from vegrt.evaluate.benchmark.setup import (
    WARM_UP,
    Conditions,
    check_request,
    describe_conditions,
    open_all,
    wait_idle,
    warm_up,
)
from vegrt.evaluate.benchmark.statistics import bootstrap_mean, summarize
from vegrt.infer.runtimes.open import Candidate, describe
from vegrt.terminal.progress import track

if TYPE_CHECKING:
    from rich.table import Table

Scenario = Literal["single-stream", "offline"]

DURATION_S = 10.0  # a 60th of MLPerf's 600
MIN_QUERIES = 128  # an 8th of MLPerf's 1,024, SingleStream
MIN_SAMPLES = 384  # a 64th of MLPerf's 24,576, Offline
STATEMENT = "MLPerf-style, not compliant: scaled down, without LoadGen, not reviewed"
_SEED = 1
_RULES: dict[Scenario, dict[str, Any]] = {
    "single-stream": {
        "name": "SingleStream",
        "metric": "copies[0].p90_ms",
        "min_queries": MIN_QUERIES,
        "mlperf_min_queries": 1024,
    },
    "offline": {
        "name": "Offline",
        "metric": "copies[0].images_per_s",
        "min_samples": MIN_SAMPLES,
        "mlperf_min_samples": 24576,
    },
}


def bench_scenario(
    bundle: Bundle,
    chosen: list[Candidate],
    scenario: Scenario,
    *,
    batch_sizes: tuple[int, ...],
    duration_s: float = DURATION_S,
    conditions: Conditions | None = None,
) -> dict[str, Any]:
    """Return the body of a benchmark result of one scenario; candidates run one after the other, each alone.

    batch_sizes: of Offline, which takes the fastest of them; SingleStream runs single images. A query is an image in memory,
    and ends with its label (the measure `copies`); decoding is not timed, as in MLPerf.
    """
    batches = (1,) if scenario == "single-stream" else batch_sizes
    check_request(bundle, chosen, batches)
    if not 0 <= duration_s < math.inf:
        raise VegrtError(f"a duration of {duration_s} s; expected a number from 0, such as 10")
    conditions = conditions or Conditions()
    heard, budget = listen(), Budget(math.inf)
    inputs = gather_inputs(bundle, conditions.data, max(batches))
    opened = open_all(bundle, chosen, inputs, conditions, max(batches))
    listener = listen()
    run = _single_stream if scenario == "single-stream" else _offline
    rows = []
    with watch_gpu(any(one.rig.device == "cuda" for one in opened.values())) as gpu:
        for one in track(chosen, _RULES[scenario]["name"]):
            wait_idle()
            points = run(opened[one].rig, batches, duration_s)
            head = describe(bundle, one) | {"load_s": opened[one].load_s, "device": opened[one].rig.device}
            rows.append(head | points | {"end_to_end": [], "stages_ms": []})
    noise = describe_noise(heard.load_average, listener.others(), rows)
    peaks = measure_memory(bundle, opened, conditions, max(batches), budget, {})
    for row, peak in zip(rows, peaks.values(), strict=True):
        row["peak_rss_mib"] = peak
    limits = {"min_duration_s": duration_s, "mlperf_min_duration_s": 600}
    return {
        "scenario": scenario,
        "preset": {"statement": STATEMENT, "compliant": False} | _RULES[scenario] | limits,
        "rounds": 1,
        "warm_up": WARM_UP,
        **describe_conditions(conditions, inputs),
        "noise": noise,
        "gpu": gpu.summary() if gpu else None,
        "candidates": rows,
    }


def scenario_table(body: dict[str, Any]) -> Table:
    """Return the result of `bench_scenario` as a table for people."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    preset, single = body["preset"], body["scenario"] == "single-stream"
    title = f"{preset['name']}: {preset['statement']}"
    caption = (
        f"{body['threads']} threads, at least {preset['min_duration_s']:g} s each; images: {body['images_source']}"
    )
    caption = "; ".join(filter(None, (caption, noise_words(body))))
    metric = "p90 ms" if single else "images/s"
    table = Table(title=title, caption=escape(caption), box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("candidate", "batch", "images", metric, "95 %", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="left" if heading == "candidate" else "right")
    for row in body["candidates"]:
        (point,) = row["copies"]
        names = ("p90_ms", "p90_low_ms", "p90_high_ms")
        if not single:
            names = ("images_per_s", "images_per_s_low", "images_per_s_high")
        value, low, high, p50, p99 = (f"{point[name]:.2f}" for name in (*names, "p50_ms", "p99_ms"))
        images = str(point["count"] * point["batch"])
        table.add_row(row["key"], str(point["batch"]), images, value, f"{low} to {high}", p50, p99)
    return table


def _single_stream(rig: TimedRunner, _batches: tuple[int, ...], duration_s: float) -> dict[str, Any]:
    """Send one image, wait for its label, send the next, until both minima are reached."""
    warm_up(rig, 1)
    laps, _elapsed = _run(rig, 1, lambda done, elapsed_s: done >= MIN_QUERIES and elapsed_s >= duration_s)
    return _points(1, laps)


def _offline(rig: TimedRunner, batches: tuple[int, ...], duration_s: float) -> dict[str, Any]:
    """Hand over all samples at once, which the runner takes in batches of the size that was fastest while warming up.

    As LoadGen does, the number of samples is fixed beforehand, from the rate that is expected.
    """
    rates = {batch: batch / warm_up(rig, batch) for batch in batches}
    best = max(rates, key=lambda batch: rates[batch])
    runs = -(-max(MIN_SAMPLES, int(rates[best] * duration_s)) // best)
    laps, elapsed_s = _run(rig, best, lambda done, _: done >= runs)
    found = _points(best, laps)
    low_s, high_s = bootstrap_mean(np.array([lap.total_s for lap in laps]))
    found["copies"][0] |= {
        "images_per_s": best * runs / elapsed_s,
        "images_per_s_low": best / high_s,
        "images_per_s_high": best / low_s,
    }
    return found


def _run(rig: TimedRunner, batch: int, enough: Callable[[int, float], bool]) -> tuple[list[CaseTiming], float]:
    """Return the laps of queries sent back to back until `enough`(number, seconds), and the seconds that it all took."""
    random, start = np.random.default_rng(_SEED), time.perf_counter()
    laps: list[CaseTiming] = []
    while not enough(len(laps), time.perf_counter() - start):
        laps.append(rig.copies(batch, int(random.integers(1 << 30))))
    return laps, time.perf_counter() - start


def _points(batch: int, laps: list[CaseTiming]) -> dict[str, list[dict[str, Any]]]:
    """Return both measures of the same runs: the runner alone, and with copies."""
    alone, copies = [lap.run_s for lap in laps], [lap.total_s for lap in laps]
    return {"batches": [summarize(batch, alone)], "copies": [summarize(batch, copies)]}
