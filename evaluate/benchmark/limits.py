"""What this CPU can multiply at all, and each candidate's share of it: the compute roof of the roofline model.

share = MACs per image * images per second / MACs per second of a large matrix product, with the same arithmetic and threads.
Source: S. Williams, A. Waterman, D. Patterson: Roofline, Communications of the ACM 52(4), 2009. Its other roof, memory
bandwidth, is not measured. The products run in the runtimes themselves, so the limit is what software reaches, not a data sheet.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.products import OUTPUT, Product
from vegrt.evaluate.benchmark.setup import wait_idle
from vegrt.infer.runtimes.host import is_installed
from vegrt.infer.runtimes.onnxruntime.session import is_faster_in_float, open_session, run_model
from vegrt.infer.runtimes.openvino.compiled import compile_model
from vegrt.infer.runtimes.openvino.runner import needs_float, open_request, run_request
from vegrt.infer.runtimes.runner import RuntimeName
from vegrt.machine import available_cores
from vegrt.results.benchmark import ARITHMETICS, Arithmetic, Bench, BenchCandidate, MachineLimit, arithmetic_of
from vegrt.terminal.progress import track

log = logging.getLogger(__name__)

LIMITS_S = 5.0  # for all limits; on two cores of AMD Zen 4 they take 4
BUDGET_SHARE = 1 / 4  # largest share of a benchmark's budget that the limits may take
_SUBJECT = "the matrix product"
_Multiply = Callable[[NDArray[np.uint8]], Any]


@dataclass(frozen=True, slots=True)
class Effort:
    """The product to time, and how long: at least `runs` times and `least_s` seconds. most_s: for all limits together."""

    product: Product = field(default_factory=Product)
    runs: int = 4
    least_s: float = 0.3
    most_s: float = LIMITS_S


def measure_limits(threads: int = 0, effort: Effort | None = None) -> tuple[MachineLimit, ...]:
    """Return the limits in every CPU runtime installed, with all threads and with one.

    threads: 0 for all cores that this process may use. Those with all threads are timed twice, a second or more apart, because
    another program on one of the cores halves them. A runtime that fails, and what does not fit into the time, is left out with a
    warning.
    """
    effort = effort or Effort()
    deadline = time.perf_counter() + effort.most_s
    models = {arithmetic: effort.product.model(arithmetic) for arithmetic in ARITHMETICS}
    counts = (every, 1, every) if (every := threads or available_cores()) > 1 else (1,)
    cases = [
        (runtime, arithmetic, count)
        for count in counts
        for runtime in _PREPARE
        if is_installed(runtime)
        for arithmetic in ARITHMETICS
    ]
    rates: dict[tuple[RuntimeName, Arithmetic, int], float] = {}
    for case in track(cases, "Measuring limits"):
        runtime, arithmetic, count = case
        if time.perf_counter() < deadline:
            try:
                seconds = _fastest_s(_PREPARE[runtime](models[arithmetic], count), effort, deadline)
                rates[case] = max(rates.get(case, 0.0), effort.product.macs / seconds)
            except VegrtError as error:
                log.warning("%s: its limit in %s is not measured (%s)", runtime, arithmetic, error)
        elif case not in rates:
            log.warning("%s: its limit in %s with %d threads is not measured (no time)", runtime, arithmetic, count)
    return tuple(MachineLimit(*case, macs_per_s=rate) for case, rate in rates.items())


def add_limits(bench: Bench, limits: tuple[MachineLimit, ...], macs_per_image: int | None) -> Bench:
    """Return the benchmark with the limits of its machine, and with the share of every candidate that they apply to.

    macs_per_image: of the network; None if unknown, then no candidate has a share. A limit is the CPU's: rows of a GPU have none.
    """
    limited = replace(bench, limits=limits, macs_per_image=macs_per_image)
    return replace(limited, candidates=tuple(_with_shares(limited, row) for row in bench.candidates))


def _with_shares(bench: Bench, row: BenchCandidate) -> BenchCandidate:
    arithmetic = arithmetic_of(row.variant)
    in_float = {"openvino": needs_float, "onnxruntime": is_faster_in_float}
    is_in_float = row.runtime in in_float and in_float[row.runtime](row.variant)
    limit = bench.limit(arithmetic) if arithmetic and row.device == "cpu" and not is_in_float else None
    if limit is None or bench.macs_per_image is None:
        return row
    share_per_rate = bench.macs_per_image / limit.macs_per_s
    batches = (replace(timing, limit_share=timing.images_per_s * share_per_rate) for timing in row.batches)
    return replace(row, batches=tuple(batches))


def _fastest_s(multiply: _Multiply, effort: Effort, deadline: float) -> float:
    """Return the seconds of the fastest run, after one that warms up. deadline: of the clock, after which no run begins."""
    operand = effort.product.operand()
    wait_idle()
    multiply(operand)
    runs_s: list[float] = []
    while not runs_s or (
        time.perf_counter() < deadline and (len(runs_s) < effort.runs or sum(runs_s) < effort.least_s)
    ):
        start = time.perf_counter()
        multiply(operand)
        runs_s.append(time.perf_counter() - start)
    return min(runs_s)


def _prepare_onnxruntime(model: bytes, threads: int) -> _Multiply:
    session = open_session(model, threads=threads)
    return lambda operand: run_model(session, [OUTPUT], operand, _SUBJECT)


def _prepare_openvino(model: bytes, threads: int) -> _Multiply:
    """Return a function that runs the product, in float32 as the candidates of fp32 do, not in bfloat16."""
    request = open_request(compile_model(model, threads=threads, precision="f32"), _SUBJECT)
    return lambda operand: run_request(request, [OUTPUT], operand, _SUBJECT)


# MNN needs a file of its own converter; its candidates are compared with the limit of the others.
_PREPARE: dict[RuntimeName, Callable[[bytes, int], _Multiply]] = {
    "onnxruntime": _prepare_onnxruntime,
    "openvino": _prepare_openvino,
}
