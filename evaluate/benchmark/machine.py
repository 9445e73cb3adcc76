"""Measures a machine without a bundle, for `vegrt doctor --measure`: its limits, and small networks in every runtime."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import MissingExtraError, VegrtError
from vegrt.evaluate.benchmark.limits import Effort, measure_limits
from vegrt.evaluate.benchmark.networks import CLASSES, SmallNetwork, small_network
from vegrt.evaluate.benchmark.noise import OTHERS, start_meter
from vegrt.evaluate.benchmark.setup import wait_idle
from vegrt.files.temporary import working_folder
from vegrt.infer.machine.measured import (
    NETWORK_KINDS,
    MachineMeasurements,
    NetworkKind,
    NetworkRate,
    TimedVariant,
)
from vegrt.infer.runtimes.candidates import ON_CPU
from vegrt.infer.runtimes.host import is_installed
from vegrt.infer.runtimes.mnn import open_mnn
from vegrt.infer.runtimes.mnn_converter import convert_to_mnn
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.openvino.runner import open_openvino
from vegrt.infer.runtimes.runner import Runner, RuntimeName
from vegrt.machine import available_cores
from vegrt.terminal.progress import track

BATCH = 8  # small images: together about the pixels of one of 224 x 224
_LONGEST_REASON = 300
_VARIANTS: dict[RuntimeName, tuple[TimedVariant, ...]] = {
    "onnxruntime": ("fp32", "int8-cpu"),
    "openvino": ("fp32", "int8-cpu"),
    "mnn": ("fp32",),
}


@dataclass(frozen=True, slots=True)
class MachineEffort:
    """What `measure_machine` may take. rounds: of all networks. least_rounds: even if they take longer than networks_s."""

    limits: Effort = field(default_factory=Effort)
    kinds: tuple[NetworkKind, ...] = NETWORK_KINDS
    rounds: int = 16
    least_rounds: int = 3
    networks_s: float = 18.0


@dataclass(frozen=True, slots=True)
class _Case:
    kind: NetworkKind
    variant: TimedVariant
    runtime: RuntimeName
    network: SmallNetwork
    runner: Runner


def measure_machine(threads: int = 0, effort: MachineEffort | None = None) -> MachineMeasurements:
    """Measure this machine in about half a minute. threads: 0 for all cores that this process may use.

    Raises MissingExtraError without a runtime for CPUs. A runtime that fails is left out, with the reason in `absent`.
    """
    if not any(map(is_installed, ON_CPU)):
        raise MissingExtraError("no runtime to measure is installed here; pip install 'vegrt[cpu]'")
    effort = effort or MachineEffort()
    meter = start_meter()
    limits = measure_limits(threads, effort.limits)
    shares = [meter.others_share()]
    absent: dict[str, str] = {runtime: "not installed" for runtime in ON_CPU if not is_installed(runtime)}
    with working_folder("measure") as folder:
        cases = list(_open_all(threads, effort.kinds, folder, absent))
        meter = start_meter()  # here, because MNN's converter is another process
        rates = _time_all(cases, effort)
        shares.append(meter.others_share())
    others = max((share for share in shares if share is not None), default=None)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    busy = others is not None and others > OTHERS
    return MachineMeasurements(
        created, threads or available_cores(), limits, tuple(rates), absent, others_share=others, busy=busy
    )


def _open_all(threads: int, kinds: tuple[NetworkKind, ...], folder: Path, absent: dict[str, str]) -> Iterator[_Case]:
    """Yield every network, opened in every runtime that can run it; add those that fail to `absent`."""
    for kind in track(kinds, "Opening networks"):
        for runtime in ON_CPU:
            for variant in _VARIANTS[runtime]:
                if runtime in absent:
                    continue
                network = small_network(kind, variant)
                try:
                    runner = _open(runtime, variant, network, threads, folder / kind)
                    runner.logits(_images(network))
                except VegrtError as error:
                    absent[runtime] = f"{kind} in {variant}: {error}"[:_LONGEST_REASON]
                    continue
                yield _Case(kind, variant, runtime, network, runner)


def _open(runtime: RuntimeName, variant: TimedVariant, network: SmallNetwork, threads: int, folder: Path) -> Runner:
    if runtime == "onnxruntime":
        return open_onnxruntime(network.model, threads=threads, classes=CLASSES)
    if runtime == "openvino":
        return open_openvino(
            network.model, threads=threads, precision="f32" if variant == "fp32" else "", classes=CLASSES
        )
    folder.mkdir()
    return open_mnn(convert_to_mnn(network.model, folder), threads=threads, classes=CLASSES)


def _time_all(cases: list[_Case], effort: MachineEffort) -> list[NetworkRate]:
    """Return the median speed of each case over rounds in which all cases take turns, so that drift affects them equally."""
    seconds: list[list[float]] = [[] for _ in cases]
    deadline = time.perf_counter() + effort.networks_s
    for number in track(range(effort.rounds), "Measuring networks"):
        if number >= effort.least_rounds and time.perf_counter() > deadline:
            break
        for case, runs_s in zip(cases, seconds, strict=True):
            images = _images(case.network)
            wait_idle()
            start = time.perf_counter()
            case.runner.logits(images)
            runs_s.append(time.perf_counter() - start)
    return [
        NetworkRate(case.kind, case.variant, case.runtime, BATCH / float(np.median(runs_s)), case.network.macs)
        for case, runs_s in zip(cases, seconds, strict=True)
    ]


def _images(network: SmallNetwork) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (BATCH, network.size, network.size, 3), np.uint8)
