"""Interleaved rounds: who runs when, so that drift of the machine hits all candidates alike and none disturbs the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from vegrt.infer.bench_cases import MEASURES, Case, Lap
from vegrt.infer.bench_setup import Opened, settle, warm_up
from vegrt.infer.bench_stats import MIN_ROUNDS, takes_part
from vegrt.infer.open import Candidate

Laps = dict[Case, list[Lap | None]]  # one per round; None where the case sat it out
T = TypeVar("T")


def estimate_costs(
    opened: Mapping[Candidate, Opened], batch_sizes: tuple[int, ...], decode_s: float
) -> dict[Case, float]:
    """Return about how many seconds one lap of each case takes, having warmed every runner up at every batch size."""
    costs = {}
    for candidate, one in opened.items():
        for batch in dict.fromkeys(batch_sizes):
            run_s = warm_up(one.rig, batch)
            for measure in MEASURES:
                costs[Case(candidate, batch, measure)] = run_s + (batch * decode_s if measure == "end_to_end" else 0.0)
    return costs


def interleave(
    opened: Mapping[Candidate, Opened],
    counts: Mapping[Case, int],
    budget_s: float,
    laps: Laps,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[None]:
    """Fill `laps` round by round, yielding after each lap. Ends early when the time is over and MIN_ROUNDS are reached.

    counts: how often each case is timed, spread evenly over as many rounds as the largest of them says. In each round the
    candidates take turns in a new order, and each runs its cases one after the other in a new order: as in real use its own
    threads are awake, while those of the candidate before have gone to sleep.
    """
    shuffle, start, rounds = np.random.default_rng(0), clock(), max(counts.values())
    made = dict.fromkeys(counts, 0)
    laps |= {case: [] for case in counts}
    for turn in range(rounds):
        if clock() - start > budget_s and min(made.values()) >= MIN_ROUNDS:
            return
        for candidate in _shuffled(list(opened), shuffle):
            cases = [case for case in counts if case.candidate == candidate]
            taking = [case for case in cases if takes_part(turn, counts[case], rounds)]
            for case in cases:
                laps[case].append(None)
            if taking:
                settle()
                opened[candidate].rig.alone(min(case.batch for case in cases))  # untimed: wakes its threads
            for case in _shuffled(taking, shuffle):
                laps[case][turn] = opened[candidate].rig.time(case.measure, case.batch, turn)
                made[case] += 1
                yield


def _shuffled(items: list[T], generator: np.random.Generator) -> list[T]:
    return [items[index] for index in generator.permutation(len(items))]
