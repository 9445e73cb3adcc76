"""A budget holds: with runners that only advance a clock, whatever they cost, and the real benchmark in a small one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vegrt.bundle.bundle import Bundle
from vegrt.evaluate.benchmark import budget as bench_budget
from vegrt.evaluate.benchmark import rounds as bench_rounds
from vegrt.evaluate.benchmark import setup as bench_setup
from vegrt.evaluate.benchmark.bench import bench, time_all
from vegrt.evaluate.benchmark.budget import Budget, measure_processes, reserve_for_processes
from vegrt.evaluate.benchmark.cases import Case, CaseTiming
from vegrt.evaluate.benchmark.process import ProcessFigures
from vegrt.evaluate.benchmark.setup import Conditions, OpenedCandidate
from vegrt.evaluate.benchmark.tables import bench_table
from vegrt.evaluate.wording import skipped_sentence
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.results.benchmark import MEASURES, Measure

KEYS = [Candidate(variant, runtime) for variant in ("fp32", "int8-cpu") for runtime in ("onnxruntime", "openvino")]


@dataclass
class Clock:
    """Time that passes only when somebody works."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s

    def work(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class Slow:
    """A runner whose batches take fixed times. timed: timings by measure and batch size."""

    clock: Clock
    image_s: float
    fixed_s: float
    timed: list[tuple[Measure, int]] = field(default_factory=list)
    device: str = "cpu"

    def prepare(self, batch: int) -> None:
        pass

    def alone(self, batch: int) -> CaseTiming:
        seconds = self.fixed_s + batch * self.image_s
        self.clock.work(seconds)
        return CaseTiming(0.0, 0.0, seconds, 0.0)

    def time(self, measure: Measure, batch: int, turn: int) -> CaseTiming:
        self.timed.append((measure, batch))
        return self.alone(batch)


def opened_with(clock: Clock, costs_s: list[float]) -> dict[Candidate, OpenedCandidate]:
    return {
        candidate: OpenedCandidate(Slow(clock, cost, 0.1 * cost), 0.1)  # type: ignore[arg-type]
        for candidate, cost in zip(KEYS, costs_s, strict=False)
    }


@given(
    costs_s=st.lists(st.floats(1e-4, 20), min_size=1, max_size=4),
    budget_s=st.floats(0, 300),
    sizes=st.sampled_from([(1,), (1, 4, 16), (16, 1), (8, 32)]),
    rounds=st.integers(1, 40),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_the_times_keep_to_the_budget_whatever_they_cost(
    monkeypatch: pytest.MonkeyPatch, costs_s: list[float], budget_s: float, sizes: tuple[int, ...], rounds: int
) -> None:
    clock = Clock()
    monkeypatch.setattr(bench_rounds, "wait_idle", lambda: clock.work(bench_budget.SETTLE_S))
    opened, budget = opened_with(clock, costs_s), Budget(budget_s, clock)
    _, timings = time_all(opened, sizes, 0.0, budget, 0.0, rounds)
    smallest = [1.1 * cost * min(sizes) for cost in costs_s]
    least_s = sum(
        (3 + len(MEASURES) + 1) * cost_s + bench_budget.SETTLE_S for cost_s in smallest
    )  # warmed up, timed once
    round_s = sum((1 + bench_budget.SETTLE_S) + 4 * 1.1 * cost * max(sizes) for cost in costs_s if timings)
    assert budget.spent_s <= max(1.2 * budget_s, least_s) + round_s
    for candidate in opened:
        for measure in MEASURES:
            assert any(timings[Case(candidate, min(sizes), measure)]), "every candidate has its times"
    every = {(str(candidate), batch) for candidate in opened for batch in sizes}
    skipped = {(case.key, case.batch) for case in budget.skipped}
    assert skipped | {(str(case.candidate), case.batch) for case in timings} == every
    assert not skipped & {(str(case.candidate), case.batch) for case in timings}


def test_slow_batch_sizes_are_skipped_and_fast_ones_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of 0.15 s a photo at batch sizes 1, 4 and 16: five timings of three measures at 16 alone are 36 s."""
    clock = Clock()
    monkeypatch.setattr(bench_rounds, "wait_idle", lambda: clock.work(bench_budget.SETTLE_S))
    opened, budget = opened_with(clock, [0.15, 0.01, 0.15, 0.15]), Budget(60.0, clock)
    _, timings = time_all(opened, (1, 4, 16), 0.0, budget, 0.0, 30)
    assert budget.spent_s < 75
    timed = {(case.candidate, case.batch) for case in timings}
    assert {(candidate, 1) for candidate in opened} | {(KEYS[1], 4), (KEYS[1], 16)} <= timed
    assert (KEYS[0], 16) not in timed
    assert min(sum(timing is not None for timing in rounds) for rounds in timings.values()) >= 5


def test_processes_are_started_as_long_as_there_is_time(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    starts_s: Iterator[float] = itertools.count(1.0)

    def measured(*_: object, batch: int, **__: object) -> ProcessFigures:
        clock.work(3.0)
        return ProcessFigures(100.0 if batch else None, next(starts_s))

    monkeypatch.setattr(bench_budget, "run_process", measured)
    opened, budget = opened_with(clock, [0.01] * 4), Budget(10.0, clock)
    assert 0 < reserve_for_processes(opened, budget, enabled=True) <= 10 / 3
    assert reserve_for_processes(opened, budget, enabled=False) == 0
    figures = measure_processes(bundle, opened, Conditions(), 16, budget, {}).values()
    assert list(figures) == [ProcessFigures(100.0, start_s) for start_s in (1.0, 2.0, 3.0)] + [ProcessFigures()]
    assert budget.spent_s <= 10
    assert [(measure.key, measure.what) for measure in budget.skipped] == [(str(KEYS[3]), "memory")]
    nothing = measure_processes(bundle, opened_with(clock, [0.01]), Conditions(memory=False), 16, budget, {})
    assert list(nothing.values()) == [ProcessFigures()]
    assert len(budget.skipped) == 1, "what was not wanted was not skipped"
    starts_s = iter((0.9, 9.0, 0.5))
    three = measure_processes(bundle, opened_with(clock, [0.01]), Conditions(), 16, Budget(100.0, clock), {})
    assert list(three.values()) == [ProcessFigures(100.0, 0.9)], "the first answer is the median of three processes"


def test_the_result_says_what_was_skipped(bundle: Bundle) -> None:
    result = bench(bundle, KEYS[:1], rounds=30, batch_sizes=(1, 64), budget_s=0.0, conditions=Conditions(threads=1))
    assert result.budget_s == 0.0
    assert result.elapsed_s is not None
    assert result.elapsed_s > 0
    (row,) = result.candidates
    assert [(timing.batch, timing.count) for timing in row.batches] == [(1, 1)]
    assert row.peak_rss_mib is None
    sentence = skipped_sentence(result)
    assert sentence == "not measured in 0 s: batch 64 of fp32/onnxruntime; memory of fp32/onnxruntime; raise --budget-s"
    assert sentence in str(bench_table(result).caption)
    assert bench_setup.WARM_UP == 3  # least_s above counts with it
