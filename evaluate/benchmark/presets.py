"""MLPerf-style scenarios, not compliant: one image after the other (SingleStream), and a large set in one go (Offline).

What is taken from the MLPerf inference rules (github.com/mlcommons: inference_policies, and inference's mlperf.conf): the metric,
queries drawn with replacement from a pool, and minima of time and count, here scaled down. What is missing: LoadGen, the
reference models and data, the accuracy run, the early-stopping penalty, the audit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.budget import Budget, measure_memory
from vegrt.evaluate.benchmark.cases import CaseTiming, TimedRunner
from vegrt.evaluate.benchmark.inputs import gather_inputs
from vegrt.evaluate.benchmark.noise import measure_noise, start_meter
from vegrt.evaluate.benchmark.power import watch_gpu
from vegrt.evaluate.benchmark.setup import (
    WARM_UP,
    Conditions,
    check_request,
    open_all,
    wait_idle,
    warm_up_runner,
)
from vegrt.evaluate.benchmark.statistics import bootstrap_mean, summarize
from vegrt.infer.runtimes.candidates import Candidate, candidate_row
from vegrt.results.benchmark import Bench, BenchCandidate, Preset, Timing
from vegrt.results.convert import fields_of
from vegrt.results.header import header_fields
from vegrt.terminal.progress import track

Scenario = Literal["single-stream", "offline"]

DURATION_S = 10.0  # a 60th of MLPerf's 600
MIN_QUERIES = 128  # an 8th of MLPerf's 1,024, SingleStream
MIN_SAMPLES = 384  # a 64th of MLPerf's 24,576, Offline
STATEMENT = "MLPerf-style, not compliant: scaled down, without LoadGen, not reviewed"
_SEED = 1
_PRESETS: dict[Scenario, Preset] = {
    "single-stream": Preset(
        statement=STATEMENT,
        compliant=False,
        name="SingleStream",
        metric="copies[0].p90_ms",
        min_queries=MIN_QUERIES,
        mlperf_min_queries=1024,
        min_duration_s=DURATION_S,
        mlperf_min_duration_s=600,
    ),
    "offline": Preset(
        statement=STATEMENT,
        compliant=False,
        name="Offline",
        metric="copies[0].images_per_s",
        min_samples=MIN_SAMPLES,
        mlperf_min_samples=24576,
        min_duration_s=DURATION_S,
        mlperf_min_duration_s=600,
    ),
}


def bench_scenario(
    bundle: Bundle,
    chosen: list[Candidate],
    scenario: Scenario,
    *,
    batch_sizes: tuple[int, ...],
    duration_s: float = DURATION_S,
    conditions: Conditions | None = None,
) -> Bench:
    """Return the benchmark of one scenario; candidates run one after the other, each alone.

    batch_sizes: of Offline, which takes the fastest of them; SingleStream runs single images. A query is an image in memory,
    and ends with its label (the measure `copies`); decoding is not timed, as in MLPerf.
    """
    batches = (1,) if scenario == "single-stream" else batch_sizes
    check_request(bundle, chosen, batches)
    if not 0 <= duration_s < math.inf:
        raise VegrtError(f"a duration of {duration_s} s; expected a number from 0, such as 10")
    conditions = conditions or Conditions()
    load_average, budget = start_meter().load_average, Budget(math.inf)
    inputs = gather_inputs(bundle, conditions.data, max(batches))
    opened = open_all(bundle, chosen, inputs, conditions, max(batches))
    meter = start_meter()
    run = _single_stream if scenario == "single-stream" else _offline
    rows = []
    with watch_gpu(any(one.runner.device == "cuda" for one in opened.values())) as gpu:
        for candidate in track(chosen, _PRESETS[scenario].name):
            wait_idle()
            runner, load_s = opened[candidate].runner, opened[candidate].load_s
            alone, copies = run(runner, batches, duration_s)
            own = replace(candidate_row(bundle, candidate), device=runner.device)
            rows.append(
                BenchCandidate(
                    **fields_of(own), load_s=load_s, batches=(alone,), copies=(copies,), end_to_end=(), stages_ms=()
                )
            )
    noise = measure_noise(load_average, meter.others_share(), rows)
    peaks = measure_memory(bundle, opened, conditions, max(batches), budget, {})
    return Bench(
        **header_fields(bundle, Bench.KIND),
        scenario=scenario,
        preset=replace(_PRESETS[scenario], min_duration_s=duration_s),
        rounds=1,
        warm_up=WARM_UP,
        threads=conditions.thread_count,
        images_source=inputs.source,
        photos_source=inputs.photos_source,
        noise=noise,
        gpu=gpu.summary() if gpu else None,
        candidates=tuple(replace(row, peak_rss_mib=peak) for row, peak in zip(rows, peaks.values(), strict=True)),
    )


def _single_stream(runner: TimedRunner, _batches: tuple[int, ...], duration_s: float) -> tuple[Timing, Timing]:
    """Send one image, wait for its label, send the next, until both minima are reached."""
    warm_up_runner(runner, 1)
    laps, _elapsed = _run(runner, 1, lambda done, elapsed_s: done >= MIN_QUERIES and elapsed_s >= duration_s)
    return _timings(1, laps)


def _offline(runner: TimedRunner, batches: tuple[int, ...], duration_s: float) -> tuple[Timing, Timing]:
    """Hand over all samples at once, which the runner takes in batches of the size that was fastest while warming up.

    As LoadGen does, the number of samples is fixed beforehand, from the rate that is expected.
    """
    rates = {batch: batch / warm_up_runner(runner, batch) for batch in batches}
    best = max(rates, key=lambda batch: rates[batch])
    runs = -(-max(MIN_SAMPLES, int(rates[best] * duration_s)) // best)
    laps, elapsed_s = _run(runner, best, lambda done, _: done >= runs)
    alone, copies = _timings(best, laps)
    low_s, high_s = bootstrap_mean(np.array([lap.total_s for lap in laps]))
    rate = best * runs / elapsed_s
    return alone, replace(copies, images_per_s=rate, images_per_s_low=best / high_s, images_per_s_high=best / low_s)


def _run(runner: TimedRunner, batch: int, enough: Callable[[int, float], bool]) -> tuple[list[CaseTiming], float]:
    """Return the laps of queries sent back to back until `enough`(number, seconds), and the seconds that it all took."""
    random, start = np.random.default_rng(_SEED), time.perf_counter()
    laps: list[CaseTiming] = []
    while not enough(len(laps), time.perf_counter() - start):
        laps.append(runner.copies(batch, int(random.integers(1 << 30))))
    return laps, time.perf_counter() - start


def _timings(batch: int, laps: list[CaseTiming]) -> tuple[Timing, Timing]:
    """Return both measures of the same runs: the runner alone, and with copies."""
    return summarize(batch, [lap.run_s for lap in laps]), summarize(batch, [lap.total_s for lap in laps])
