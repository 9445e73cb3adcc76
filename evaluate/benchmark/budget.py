"""The time budget of a benchmark: which cases and processes fit into it, and which are skipped."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vegrt.bundle.bundle import Bundle
from vegrt.evaluate.benchmark.cases import Case
from vegrt.evaluate.benchmark.process import TIMEOUT_S, ProcessFigures, run_process
from vegrt.evaluate.benchmark.setup import LONG_S, WARM_UP, Conditions, OpenedCandidate, warm_up_runner
from vegrt.evaluate.benchmark.statistics import MIN_ROUNDS
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.results.benchmark import MEASURES, Measure, Skipped
from vegrt.terminal.progress import track

SETTLE_S = 0.04  # pause between two candidates
STARTS = 3  # processes per candidate; the time to the first answer is their median
_PROCESS_S = 2.0  # assumed start time of a process, until the first one is timed
_PROCESS_SHARE = 1 / 3  # largest share of the time left after loading that is reserved for processes
_LEAST_TIMEOUT_S = 20.0


@dataclass(slots=True)
class Budget:
    """Time budget in seconds of a whole benchmark, from now on. skipped: cases and memory measurements that did not fit."""

    total_s: float
    clock: Callable[[], float] = time.perf_counter
    skipped: list[Skipped] = field(default_factory=list)
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.clock()

    @property
    def spent_s(self) -> float:
        """Return the seconds since the start."""
        return self.clock() - self._start

    @property
    def left_s(self) -> float:
        """Return the seconds left, 0 if the budget is spent."""
        return max(0.0, self.total_s - self.spent_s)


def reserve_for_processes(opened: Mapping[Candidate, OpenedCandidate], budget: Budget, *, enabled: bool) -> float:
    """Return the seconds to reserve for the first process of each candidate; the others take what is left."""
    needed_s = sum(_PROCESS_S + 2 * candidate.load_s for candidate in opened.values()) if enabled else 0.0
    return min(needed_s, _PROCESS_SHARE * budget.left_s)


def estimate_costs(
    opened: Mapping[Candidate, OpenedCandidate],
    batch_sizes: Sequence[int],
    decode_s: float,
    budget: Budget,
    reserved_s: float,
) -> dict[Case, float]:
    """Warm up every runner; return the estimated seconds of one timing of each case.

    The smallest batch size is always timed. A larger one is timed if its MIN_ROUNDS fit into the budget after those of the
    smaller sizes, estimated from the candidate's time for the next smaller size. Others are added to `budget.skipped`.
    """
    costs: dict[Case, float] = {}
    warmed_up: dict[Candidate, tuple[int, float]] = {}  # last batch size and its seconds
    smallest, *_ = sizes = sorted(set(batch_sizes))
    for batch in sizes:
        for candidate, runner in ((candidate, entry.runner) for candidate, entry in opened.items()):
            previous_batch, run_s = warmed_up.get(candidate, (batch, 0.0))
            expected = _estimate_measures(run_s * batch / previous_batch, batch * decode_s)
            planned_s = MIN_ROUNDS * sum(costs.values())
            warm_up_s = min(WARM_UP * run_s, max(run_s, LONG_S)) * batch / previous_batch
            fits = planned_s + warm_up_s + MIN_ROUNDS * sum(expected.values()) <= budget.left_s - reserved_s
            if batch > smallest and not (fits and candidate in warmed_up):
                warmed_up.pop(candidate, None)
                budget.skipped.append(Skipped(str(candidate), batch, "times"))
                continue
            run_s = warm_up_runner(runner, batch)
            warmed_up[candidate] = batch, run_s
            seconds = _estimate_measures(run_s, batch * decode_s)
            costs |= {Case(candidate, batch, measure): seconds[measure] for measure in MEASURES}
    return costs


def _estimate_measures(run_s: float, decode_s: float) -> dict[Measure, float]:
    """Return the seconds of one timing of each measure, including its share of the pause before a candidate's turn."""
    pause = (SETTLE_S + run_s) / len(MEASURES)
    return {measure: run_s + pause + (decode_s if measure == "end_to_end" else 0.0) for measure in MEASURES}


def measure_processes(
    bundle: Bundle,
    opened: dict[Candidate, OpenedCandidate],
    conditions: Conditions,
    largest_batch: int,
    budget: Budget,
    costs: Mapping[Case, float],
) -> dict[Candidate, ProcessFigures]:
    """Return each candidate's peak memory and the median time to its first answer, from STARTS processes.

    None stands for what is unknown, not requested, or does not fit into the budget. The first process of each candidate measures
    its memory too. costs: seconds of one timing by case, as far as measured. Empties `opened` to free memory.
    """
    loads_s = {candidate: loaded.load_s for candidate, loaded in opened.items()}
    opened.clear()
    measured: dict[Candidate, list[ProcessFigures]] = {candidate: [] for candidate in loads_s}
    process_s = _PROCESS_S
    rounds = [(candidate, number) for number in range(STARTS) for candidate in loads_s] if conditions.memory else []
    for candidate, number in track(rounds, "Measuring memory and start"):
        batch = 0 if number else largest_batch
        work_s = loads_s[candidate] + 2 * _run_s(candidate, batch, costs)
        if process_s + work_s > budget.left_s:
            budget.skipped += [] if number else [Skipped(str(candidate), largest_batch, "memory")]
            continue
        began_s = budget.spent_s
        timeout_s = min(TIMEOUT_S, max(_LEAST_TIMEOUT_S, budget.left_s))
        measured[candidate].append(
            run_process(bundle, candidate, threads=conditions.threads, batch=batch, timeout_s=timeout_s)
        )
        process_s = max(0.1, budget.spent_s - began_s - work_s)
    return {candidate: _summary(figures) for candidate, figures in measured.items()}


def _summary(processes: Sequence[ProcessFigures]) -> ProcessFigures:
    """Return the peak memory and the median time to the first answer of several processes of one candidate."""
    peaks_mib = [process.peak_rss_mib for process in processes if process.peak_rss_mib is not None]
    starts_s = [process.first_answer_s for process in processes if process.first_answer_s is not None]
    return ProcessFigures(max(peaks_mib, default=None), statistics.median(starts_s) if starts_s else None)


def _run_s(candidate: Candidate, batch: int, costs: Mapping[Case, float]) -> float:
    """Return the candidate's estimated seconds for a batch, from the largest batch size timed; 0 if none was timed."""
    timed = [
        (case.batch, cost) for case, cost in costs.items() if (case.candidate, case.measure) == (candidate, "batches")
    ]
    largest, cost = max(timed, default=(1, 0.0))
    return cost * batch / largest
