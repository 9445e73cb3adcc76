"""The time budget of a benchmark: which cases and memory measurements fit into it, and which are skipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vegrt.bundle.bundle import Bundle
from vegrt.evaluate.benchmark.cases import Case
from vegrt.evaluate.benchmark.memory import TIMEOUT_S, peak_rss_mib
from vegrt.evaluate.benchmark.setup import LONG_S, WARM_UP, Conditions, OpenedCandidate, device_of, warm_up_runner
from vegrt.evaluate.benchmark.statistics import MIN_ROUNDS
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.results.benchmark import MEASURES, Measure, Skipped
from vegrt.terminal.progress import track

SETTLE_S = 0.04  # between two candidates
_PROCESS_S = 2.0  # of a process that measures memory, before it loads its model; until one was measured
_FOR_MEMORY = 1 / 3  # of what is left once all is loaded, at most
_LEAST_TIMEOUT_S = 20.0


@dataclass(slots=True)
class Budget:
    """Seconds for a whole benchmark, starting now. skipped: cases and memory measurements that did not fit."""

    total_s: float
    clock: Callable[[], float] = time.perf_counter
    skipped: list[Skipped] = field(default_factory=list)
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.clock()

    @property
    def spent_s(self) -> float:
        """Return the seconds since the beginning."""
        return self.clock() - self._start

    @property
    def left_s(self) -> float:
        """Return the seconds until the end, 0 after it."""
        return max(0.0, self.total_s - self.spent_s)


def reserve_for_memory(opened: Mapping[Candidate, OpenedCandidate], budget: Budget, *, wanted: bool) -> float:
    """Return the seconds to keep for measuring the memory of all."""
    needed = sum(_PROCESS_S + 2 * one.load_s for one in opened.values()) if wanted else 0.0
    return min(needed, _FOR_MEMORY * budget.left_s)


def estimate_costs(
    opened: Mapping[Candidate, OpenedCandidate],
    batch_sizes: Sequence[int],
    decode_s: float,
    budget: Budget,
    reserved_s: float,
) -> dict[Case, float]:
    """Warm every runner up; return the estimated seconds of one timing of each case.

    The smallest batch size is timed in any case; a larger one where its MIN_ROUNDS still fit beside those of the smaller ones,
    by the time that the candidate took for the one before. Cases that do not fit are added to `budget.skipped`.
    """
    costs: dict[Case, float] = {}
    known: dict[Candidate, tuple[int, float]] = {}
    smallest, *_ = sizes = sorted(set(batch_sizes))
    for batch in sizes:
        for candidate, one in opened.items():
            before, run_s = known.get(candidate, (batch, 0.0))
            expected = _of_pair(run_s * batch / before, batch * decode_s)
            promised = MIN_ROUNDS * sum(costs.values())
            warming = min(WARM_UP * run_s, max(run_s, LONG_S)) * batch / before
            fits = promised + warming + MIN_ROUNDS * sum(expected.values()) <= budget.left_s - reserved_s
            if batch > smallest and not (fits and candidate in known):
                known.pop(candidate, None)
                budget.skipped.append(Skipped(str(candidate), batch, "times"))
                continue
            known[candidate] = batch, warm_up_runner(one.runner, batch)
            laps = _of_pair(known[candidate][1], batch * decode_s)
            costs |= {Case(candidate, batch, measure): laps[measure] for measure in MEASURES}
    return costs


def _of_pair(run_s: float, decode_s: float) -> dict[Measure, float]:
    """Return the seconds of one timing of each measure, with its share of the pause at the start of a candidate's turn."""
    pause = (SETTLE_S + run_s) / len(MEASURES)
    return {measure: run_s + pause + (decode_s if measure == "end_to_end" else 0.0) for measure in MEASURES}


def measure_memory(
    bundle: Bundle,
    opened: dict[Candidate, OpenedCandidate],
    conditions: Conditions,
    largest_batch: int,
    budget: Budget,
    costs: Mapping[Case, float],
) -> dict[Candidate, float | None]:
    """Return each candidate's peak memory in MiB, None if it is unknown, not wanted, or beyond the budget.

    costs: seconds of one timing, where they are known. Empties `opened`: memory is scarce.
    """
    expected = {one: opened[one].load_s + 2 * _run_s(one, largest_batch, costs) for one in opened}
    opened.clear()
    found: dict[Candidate, float | None] = dict.fromkeys(expected)
    start_s = _PROCESS_S
    for one, work_s in track(list(expected.items()), "Measuring memory") if conditions.memory else ():
        if start_s + work_s > budget.left_s:
            budget.skipped.append(Skipped(str(one), largest_batch, "memory"))
            continue
        began_s, device = budget.spent_s, device_of(one, conditions)
        timeout_s = min(TIMEOUT_S, max(_LEAST_TIMEOUT_S, budget.left_s))
        found[one] = peak_rss_mib(
            bundle, one, device=device, threads=conditions.threads, batch=largest_batch, timeout_s=timeout_s
        )
        start_s = max(0.1, budget.spent_s - began_s - work_s)
    return found


def _run_s(candidate: Candidate, batch: int, costs: Mapping[Case, float]) -> float:
    """Return about how long the candidate takes for a batch, from the largest that was timed; 0 where none was."""
    timed = [
        (case.batch, cost) for case, cost in costs.items() if (case.candidate, case.measure) == (candidate, "batches")
    ]
    largest, cost = max(timed, default=(1, 0.0))
    return cost * batch / largest
