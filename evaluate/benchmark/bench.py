"""Benchmark of all candidates: alone, with copies, and from JPEG to label. Interleaved rounds spread drift over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.budget import Budget, estimate_costs, measure_processes, reserve_for_processes
from vegrt.evaluate.benchmark.cases import Case, CaseTiming
from vegrt.evaluate.benchmark.inputs import gather_inputs
from vegrt.evaluate.benchmark.limits import BUDGET_SHARE, LIMITS_S, add_limits, measure_limits
from vegrt.evaluate.benchmark.noise import measure_noise, start_meter
from vegrt.evaluate.benchmark.power import watch_gpu
from vegrt.evaluate.benchmark.rounds import RoundTimings, interleave
from vegrt.evaluate.benchmark.setup import WARM_UP, Conditions, OpenedCandidate, check_request, open_all
from vegrt.evaluate.benchmark.statistics import plan_rounds, summarize_times
from vegrt.infer.runtimes.candidates import Candidate, candidate_row
from vegrt.infer.runtimes.host import gpu_name
from vegrt.results.benchmark import MEASURES, Bench, BenchCandidate, Measure, Stages, Timing
from vegrt.results.convert import fields_of
from vegrt.results.header import header_fields
from vegrt.terminal.progress import track

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
) -> Bench:
    """Return the benchmark of the chosen candidates.

    Each round runs every case once, in a new random order (`interleave`); a case is a candidate, a batch size and a
    measure. rounds: their maximum number. budget_s: seconds for everything, including loading, warm-up and processes. To keep
    to the budget, slow cases skip rounds (`plan_rounds`), and batch sizes and memory that do not fit are skipped and listed; the
    limits of the CPU are measured if the budget is at least LIMITS_S / BUDGET_SHARE.
    """
    check_request(bundle, chosen, batch_sizes)
    if rounds < 1:
        raise VegrtError(f"{rounds} rounds; expected at least 1")
    load_average, budget = start_meter().load_average, Budget(budget_s)
    conditions, largest = conditions or Conditions(), max(batch_sizes)
    inputs = gather_inputs(bundle, conditions.data, largest)
    opened = open_all(bundle, chosen, inputs, conditions, largest)
    limits_s = LIMITS_S if conditions.limits and BUDGET_SHARE * budget_s >= LIMITS_S else 0.0
    reserved_s = limits_s + reserve_for_processes(opened, budget, enabled=conditions.memory)
    meter = start_meter()
    devices = {candidate.device for candidate in opened}
    with watch_gpu("cuda" in devices) as gpu:
        costs, timings = time_all(opened, batch_sizes, inputs.decode_s, budget, reserved_s, rounds)
    others_share = meter.others_share()
    limits = measure_limits(conditions.threads) if limits_s else ()
    rows = [_row(bundle, candidate, opened[candidate], timings) for candidate in opened]
    processes = measure_processes(bundle, opened, conditions, largest, budget, costs)
    rows = [replace(row, **asdict(figures)) for row, figures in zip(rows, processes.values(), strict=True)]
    result = Bench(
        **header_fields(bundle, Bench.KIND, gpu=gpu_name(devices)),
        scenario="interleaved",
        rounds=len(next(iter(timings.values()))),
        warm_up=WARM_UP,
        budget_s=budget.total_s,
        elapsed_s=budget.spent_s,
        skipped=tuple(budget.skipped),
        noise=measure_noise(load_average, others_share, rows),
        threads=conditions.thread_count,
        images_source=inputs.source,
        photos_source=inputs.photos_source,
        gpu=gpu.summary() if gpu else None,
        candidates=tuple(rows),
    )
    return add_limits(result, limits, bundle.manifest.macs_per_image) if conditions.limits else result


def time_all(
    opened: Mapping[Candidate, OpenedCandidate],
    batch_sizes: tuple[int, ...],
    decode_s: float,
    budget: Budget,
    reserved_s: float,
    rounds: int,
) -> tuple[dict[Case, float], RoundTimings]:
    """Return the estimated seconds and the timings of each case. reserved_s: part of the budget to leave for later steps."""
    costs = estimate_costs(opened, batch_sizes, decode_s, budget, reserved_s)
    time_s = max(0.0, budget.left_s - reserved_s)
    counts = plan_rounds(costs, time_s, rounds)
    timings: RoundTimings = {}
    steps = interleave(opened, counts, time_s, timings, clock=budget.clock)
    for _ in track(steps, "Benchmarking", sum(counts.values())):
        pass
    return costs, timings


def _row(bundle: Bundle, candidate: Candidate, opened: OpenedCandidate, timings: RoundTimings) -> BenchCandidate:
    """Return a candidate's times for all measures, and the stages at batch 1 and at the batch size that is fastest alone."""
    alone, copies, end_to_end = (_summaries(timings, candidate, measure) for measure in MEASURES)
    fastest = max(alone, key=lambda timing: timing.images_per_s).batch
    return BenchCandidate(
        **fields_of(candidate_row(bundle, candidate)),
        load_s=opened.load_s,
        batches=alone,
        copies=copies,
        end_to_end=end_to_end,
        stages_ms=tuple(
            _stages(batch, timings[Case(candidate, batch, "end_to_end")])
            for batch in dict.fromkeys((1, fastest))
            if batch in [timing.batch for timing in alone]
        ),
    )


def _summaries(timings: RoundTimings, candidate: Candidate, measure: Measure) -> tuple[Timing, ...]:
    """Return a candidate's times of a measure by batch size; the cases are in the order of their costs."""
    by_batch = {
        case.batch: [timing.total_s if timing else None for timing in rounds]
        for case, rounds in timings.items()
        if (case.candidate, case.measure) == (candidate, measure)
    }
    return tuple(summarize_times(batch, by_batch[batch]) for batch in sorted(by_batch))


def _stages(batch: int, timings: list[CaseTiming | None]) -> Stages:
    """Return the median milliseconds per image of each stage; the medians need not add up to the median of the total."""
    seconds = np.array(
        [(timing.decode_s, timing.prepare_s, timing.run_s, timing.post_s) for timing in timings if timing]
    )
    return Stages(batch, *(np.median(seconds, axis=0) * 1e3 / batch).tolist())
