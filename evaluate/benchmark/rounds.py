"""Interleaved rounds: candidates take turns in every round, so that drift of the machine affects them equally."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from vegrt.evaluate.benchmark.cases import Case, CaseTiming
from vegrt.evaluate.benchmark.setup import OpenedCandidate, wait_idle
from vegrt.evaluate.benchmark.statistics import takes_part
from vegrt.infer.runtimes.candidates import Candidate

RoundTimings = dict[Case, list[CaseTiming | None]]  # one entry per round; None: the case skipped the round
T = TypeVar("T")


def interleave(
    opened: Mapping[Candidate, OpenedCandidate],
    counts: Mapping[Case, int],
    budget_s: float,
    timings: RoundTimings,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[None]:
    """Fill `timings` round by round and yield after each timing. After `budget_s`, stop once every case has one timing.

    counts: number of timings per case, spread evenly over the rounds; the largest count is the number of rounds. In each round
    the candidates run in a new order, and each runs its cases one after another in a new order: as in real use, its own threads
    are awake, while those of the previous candidate are asleep.
    """
    generator, start, rounds = np.random.default_rng(0), clock(), max(counts.values())
    timed = dict.fromkeys(counts, 0)
    timings |= {case: [] for case in counts}
    for turn in range(rounds):
        for case_timings in timings.values():
            case_timings.append(None)
        for candidate in _shuffled(list(opened), generator):
            is_over = clock() - start > budget_s
            cases = [case for case in counts if case.candidate == candidate]
            due = [case for case in cases if (not timed[case] if is_over else takes_part(turn, counts[case], rounds))]
            if due:
                wait_idle()
                opened[candidate].runner.alone(min(case.batch for case in cases))  # untimed: wakes its threads
            for case in _shuffled(due, generator):
                timings[case][turn] = opened[candidate].runner.time(case.measure, case.batch, turn)
                timed[case] += 1
                yield
        if clock() - start > budget_s and all(timed.values()):
            return


def _shuffled(items: list[T], generator: np.random.Generator) -> list[T]:
    return [items[index] for index in generator.permutation(len(items))]
