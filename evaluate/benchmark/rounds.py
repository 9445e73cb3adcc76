"""Interleaved rounds: the order of the cases, so that drift of the machine affects all candidates alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from vegrt.evaluate.benchmark.cases import Case, CaseTiming
from vegrt.evaluate.benchmark.setup import OpenedCandidate, wait_idle
from vegrt.evaluate.benchmark.statistics import takes_part
from vegrt.infer.runtimes.candidates import Candidate

Laps = dict[Case, list[CaseTiming | None]]  # one per round; None where the case sat it out
T = TypeVar("T")


def interleave(
    opened: Mapping[Candidate, OpenedCandidate],
    counts: Mapping[Case, int],
    budget_s: float,
    laps: Laps,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[None]:
    """Fill `laps` round by round, yielding after each lap. When the time is over, ends as soon as each case was timed once.

    counts: how often each case is timed, spread evenly over as many rounds as the largest of them says. In each round the
    candidates take turns in a new order, and each runs its cases one after the other in a new order: as in real use its own
    threads are awake, while those of the candidate before have gone to sleep.
    """
    shuffle, start, rounds = np.random.default_rng(0), clock(), max(counts.values())
    made = dict.fromkeys(counts, 0)
    laps |= {case: [] for case in counts}
    for turn in range(rounds):
        for found in laps.values():
            found.append(None)
        for candidate in _shuffled(list(opened), shuffle):
            over = clock() - start > budget_s
            cases = [case for case in counts if case.candidate == candidate]
            taking = [case for case in cases if (not made[case] if over else takes_part(turn, counts[case], rounds))]
            if taking:
                wait_idle()
                opened[candidate].runner.alone(min(case.batch for case in cases))  # untimed: wakes its threads
            for case in _shuffled(taking, shuffle):
                laps[case][turn] = opened[candidate].runner.time(case.measure, case.batch, turn)
                made[case] += 1
                yield
        if clock() - start > budget_s and all(made.values()):
            return


def _shuffled(items: list[T], generator: np.random.Generator) -> list[T]:
    return [items[index] for index in generator.permutation(len(items))]
