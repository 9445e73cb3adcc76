"""MLPerf-style scenarios, not compliant: one image at a time (SingleStream), and a large set at once (Offline).

Taken from the MLPerf inference rules (github.com/mlcommons: inference_policies, and mlperf.conf in inference): the metric,
queries drawn with replacement from a pool, and minimum duration and count, scaled down here. Missing: LoadGen, the reference
models and data, the accuracy run, the early-stopping penalty, the audit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Literal

import numpy as np

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.budget import Budget, measure_processes
from vegrt.evaluate.benchmark.cases import CaseTiming, TimedRunner
from vegrt.evaluate.benchmark.inputs import gather_inputs
from vegrt.evaluate.benchmark.limits import add_limits, measure_limits
from vegrt.evaluate.benchmark.noise import measure_noise, start_meter
from vegrt.evaluate.benchmark.power import watch_gpu
from vegrt.evaluate.benchmark.setup import (
    WARM_UP,
    Conditions,
    OpenedCandidate,
    check_request,
    open_all,
    wait_idle,
    warm_up_runner,
)
from vegrt.evaluate.benchmark.statistics import bootstrap_mean, summarize_times
from vegrt.infer.runtimes.candidates import Candidate, candidate_row
from vegrt.infer.runtimes.host import gpu_name
from vegrt.results.benchmark import Bench, BenchCandidate, Preset, Timing
from vegrt.results.convert import fields_of
from vegrt.results.header import header_fields
from vegrt.terminal.progress import track

Scenario = Literal["single-stream", "offline"]

DURATION_S = 10.0  # a 60th of MLPerf's 600
MIN_QUERIES = 128  # an 8th of MLPerf's 1,024, SingleStream
MIN_SAMPLES = 384  # a 64th of MLPerf's 24,576, Offline
_SEED = 1
_PRESETS: dict[Scenario, Preset] = {
    "single-stream": Preset(
        compliant=False,
        name="SingleStream",
        metric="copies[0].p90_ms",
        min_queries=MIN_QUERIES,
        mlperf_min_queries=1024,
        min_duration_s=DURATION_S,
        mlperf_min_duration_s=600,
    ),
    "offline": Preset(
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
    """Return the benchmark of one scenario; candidates run one after another, never at the same time.

    batch_sizes: for Offline, which uses the fastest of them; SingleStream runs single images. A query starts with an image in
    memory and ends with its label (the measure `copies`); decoding is not timed, as in MLPerf.
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
    rows = []
    devices = {candidate.device for candidate in opened}
    with watch_gpu("cuda" in devices) as gpu:
        for candidate in track(list(opened), _PRESETS[scenario].name):
            wait_idle()
            rows.append(_run_candidate(bundle, candidate, opened[candidate], scenario, batches, duration_s))
    noise = measure_noise(load_average, meter.others_share(), rows)
    limits = measure_limits(conditions.threads) if conditions.limits else ()
    processes = measure_processes(bundle, opened, conditions, max(batches), budget, {})
    result = Bench(
        **header_fields(bundle, Bench.KIND, gpu=gpu_name(devices)),
        scenario=scenario,
        preset=replace(_PRESETS[scenario], min_duration_s=duration_s),
        rounds=1,
        warm_up=WARM_UP,
        threads=conditions.thread_count,
        images_source=inputs.source,
        photos_source=inputs.photos_source,
        noise=noise,
        gpu=gpu.summary() if gpu else None,
        candidates=tuple(
            replace(row, **asdict(figures)) for row, figures in zip(rows, processes.values(), strict=True)
        ),
    )
    return add_limits(result, limits, bundle.manifest.macs_per_image) if conditions.limits else result


def _run_candidate(
    bundle: Bundle,
    candidate: Candidate,
    opened: OpenedCandidate,
    scenario: Scenario,
    batches: tuple[int, ...],
    duration_s: float,
) -> BenchCandidate:
    if scenario == "single-stream":
        alone, copies = _run_single_stream(opened.runner, duration_s)
    else:
        alone, copies = _run_offline(opened.runner, batches, duration_s)
    row = candidate_row(bundle, candidate)
    return BenchCandidate(
        **fields_of(row), load_s=opened.load_s, batches=(alone,), copies=(copies,), end_to_end=(), stages_ms=()
    )


def _run_single_stream(runner: TimedRunner, duration_s: float) -> tuple[Timing, Timing]:
    """Send one image, wait for its label, and send the next, until minimum count and duration are reached."""
    warm_up_runner(runner, 1)
    timings, _elapsed_s = _run(runner, 1, lambda count, elapsed_s: count >= MIN_QUERIES and elapsed_s >= duration_s)
    return _both_measures(1, timings)


def _run_offline(runner: TimedRunner, batches: tuple[int, ...], duration_s: float) -> tuple[Timing, Timing]:
    """Submit all samples at once; the runner processes them in batches of the size that was fastest in the warm-up.

    As in LoadGen, the number of samples is fixed beforehand, from the expected rate.
    """
    rates = {batch: batch / warm_up_runner(runner, batch) for batch in batches}
    best = max(rates, key=lambda batch: rates[batch])
    runs = -(-max(MIN_SAMPLES, int(rates[best] * duration_s)) // best)
    timings, elapsed_s = _run(runner, best, lambda count, _: count >= runs)
    alone, copies = _both_measures(best, timings)
    low_s, high_s = bootstrap_mean(np.array([timing.total_s for timing in timings]))
    rate = best * runs / elapsed_s
    return alone, replace(copies, images_per_s=rate, images_per_s_low=best / high_s, images_per_s_high=best / low_s)


def _run(runner: TimedRunner, batch: int, enough: Callable[[int, float], bool]) -> tuple[list[CaseTiming], float]:
    """Return the timings of queries sent back to back until `enough`(count, seconds) is true, and the total seconds."""
    random, start = np.random.default_rng(_SEED), time.perf_counter()
    timings: list[CaseTiming] = []
    while not enough(len(timings), time.perf_counter() - start):
        timings.append(runner.copies(batch, int(random.integers(1 << 30))))
    return timings, time.perf_counter() - start


def _both_measures(batch: int, timings: list[CaseTiming]) -> tuple[Timing, Timing]:
    """Return the summaries of the runner alone and with copies, for the same runs."""
    alone = summarize_times(batch, [timing.run_s for timing in timings])
    return alone, summarize_times(batch, [timing.total_s for timing in timings])
