"""Benchmark: latency and throughput of every candidate from memory, in interleaved rounds so that drift hits all alike."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.infer.open import Candidate, describe, open_candidate
from vegrt.infer.runner import Runner
from vegrt.progress import track

if TYPE_CHECKING:
    from rich.table import Table

BATCHES = (1, 16)
WARM_UP = 3


def bench(
    bundle: Bundle, chosen: list[Candidate], *, rounds: int, batch_sizes: tuple[int, ...] = BATCHES
) -> dict[str, Any]:
    """Return the body of a benchmark result (docs/results-format.md).

    Each round runs every candidate once per batch size, in an order that is shuffled anew. Images are random pixels: the time of
    a convolution does not depend on them.
    """
    if not chosen or rounds < 1:
        raise VegrtError(f"{bundle.path}: nothing to measure; export it first: vegrt export {bundle.path} --data DATA")
    size = bundle.manifest.contract.size
    images = np.random.default_rng(0).integers(0, 256, (max(batch_sizes), size, size, 3), np.uint8)
    runners: dict[Candidate, Runner] = {}
    load_s: dict[Candidate, float] = {}
    for candidate in chosen:
        start = time.perf_counter()
        runners[candidate] = open_candidate(bundle, candidate)
        load_s[candidate] = time.perf_counter() - start
    cases = [(candidate, batch) for candidate in chosen for batch in batch_sizes]
    for candidate, batch in cases:
        for _ in range(WARM_UP):
            runners[candidate].logits(images[:batch])
    seconds = _interleave(runners, cases, images, rounds)
    return {
        "rounds": rounds,
        "warm_up": WARM_UP,
        "candidates": [
            _row(bundle, candidate, load_s[candidate], {batch: seconds[candidate, batch] for batch in batch_sizes})
            for candidate in chosen
        ],
    }


def bench_table(body: dict[str, Any]) -> Table:
    """Return the result as a table for people."""
    from rich.table import Table

    table = Table(title=f"{body['rounds']} interleaved rounds, from memory")
    for heading in ("candidate", "batch", "p50 ms", "p90 ms", "p99 ms", "images/s"):
        table.add_column(heading, justify="left" if heading == "candidate" else "right")
    for row in body["candidates"]:
        for point in row["batches"]:
            times = (f"{point[key]:.2f}" for key in ("p50_ms", "p90_ms", "p99_ms"))
            table.add_row(row["key"], str(point["batch"]), *times, f"{point['images_per_s']:.1f}")
    return table


def _interleave(
    runners: dict[Candidate, Runner], cases: list[tuple[Candidate, int]], images: NDArray[np.uint8], rounds: int
) -> dict[tuple[Candidate, int], list[float]]:
    seconds: dict[tuple[Candidate, int], list[float]] = {case: [] for case in cases}
    generator = np.random.default_rng(0)
    for _ in track(range(rounds), "Benchmarking"):
        for index in generator.permutation(len(cases)):
            candidate, batch = cases[index]
            start = time.perf_counter()
            runners[candidate].logits(images[:batch])
            seconds[candidate, batch].append(time.perf_counter() - start)
    return seconds


def _row(bundle: Bundle, candidate: Candidate, load_s: float, seconds: dict[int, list[float]]) -> dict[str, Any]:
    points = []
    for batch, values in seconds.items():
        p50, p90, p99 = (float(number) for number in np.percentile(values, (50, 90, 99)))
        point = {"batch": batch, "p50_ms": p50 * 1e3, "p90_ms": p90 * 1e3, "p99_ms": p99 * 1e3}
        points.append(point | {"images_per_s": batch / p50, "count": len(values)})
    return {
        **describe(bundle, candidate),
        "load_s": load_s,
        "batches": points,
    }
