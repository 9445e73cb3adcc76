"""Examine this machine: processor, GPU and its packages, runtimes, which variants will be fast and why, and what to install.

A forecast from instruction sets and installed packages, or from what `vegrt doctor --measure` kept; `vegrt bench` measures a
bundle. Runs in a base install.
"""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

from vegrt.errors import VegrtError
from vegrt.files.user_cache import cache_home, cache_size_bytes
from vegrt.infer.machine.forecast import Comparison, Verdict, compare_forecast, forecast
from vegrt.infer.machine.gpu import GpuProbe, probe_gpus
from vegrt.infer.machine.gpu_sets import CUDA12, CUDA13
from vegrt.infer.machine.gpu_software import DISTRIBUTIONS, Advice, GpuFacts, GpuSoftware, check_gpu_software
from vegrt.infer.machine.measured import NETWORK_KINDS, TIMED_VARIANTS, MachineMeasurements, load_measurements
from vegrt.infer.machine.provider_libraries import find_unloadable
from vegrt.infer.machine.provider_plugins import PluginState, examine_plugins, installed_plugins
from vegrt.machine import Machine, examine_machine
from vegrt.results.benchmark import ARITHMETICS
from vegrt.terminal.tables import make_table

if TYPE_CHECKING:
    from rich.table import Table

# Import name of each runtime, and the distributions that bring it.
_RUNTIMES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    "openvino": ("openvino",),
    "mnn": ("MNN",),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt_rtx": ("tensorrt-rtx",),
    "torch": ("torch",),
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """One library that runs models. version: empty if it is not installed. note: a remark, or empty."""

    name: str
    version: str
    note: str


@dataclass(frozen=True, slots=True)
class CacheUse:
    """vegrt's part of the user's cache. folder: empty without a home folder."""

    folder: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of `vegrt doctor`. measured: None unless kept. comparisons: of the rules with it; `variants` follow it."""

    python: str
    machine: Machine
    cache: CacheUse
    gpu: GpuProbe
    gpu_software: GpuSoftware
    runtimes: tuple[Runtime, ...]
    variants: tuple[Verdict, ...]
    install: tuple[Advice, ...]
    measured: MachineMeasurements | None = None
    comparisons: tuple[Comparison, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values."""
        return asdict(self)


def examine() -> Diagnosis:
    """Return the diagnosis of this machine. Only onnxruntime is imported, to list its providers; plug-ins in other processes."""
    machine, gpu = examine_machine(), probe_gpus()
    runtimes = tuple(_runtime(name, distributions) for name, distributions in _RUNTIMES.items()) + _plugins()
    versions = {runtime.name: runtime.version for runtime in runtimes}
    software = _check_gpu(machine, gpu)
    advice = advise(machine, versions, software)
    measured = load_measurements(machine.cpu)
    variants = forecast(machine.cpu, gpu, measured=measured)
    comparisons = compare_forecast(machine.cpu, measured) if measured else ()
    python = platform.python_version()
    return Diagnosis(python, machine, _cache(), gpu, software, runtimes, variants, advice, measured, comparisons)


def advise(machine: Machine, versions: Mapping[str, str], software: GpuSoftware) -> tuple[Advice, ...]:
    """Return what to install. versions: of each runtime by import name, empty when it is missing."""
    advice = [*software.advice]
    if _is_jetson(machine) and not versions["tensorrt"]:
        advice.append(Advice("sudo apt-get install python3-libnvinfer", "TensorRT of JetPack, for engines on this GPU"))
    if not versions["onnxruntime"] and software.extra not in (CUDA12.extra, CUDA13.extra):
        advice.append(Advice(_pip("cpu"), "ONNX Runtime, which runs every variant on any CPU"))
    if "avx2" in machine.cpu.features and not versions["openvino"]:
        advice.append(Advice(_pip("openvino"), "OpenVINO, the fastest for int8-cpu in our measurements on x86"))
    if machine.cpu.saturates and not versions["mnn"]:
        advice.append(
            Advice(_pip("mnn"), "MNN, whose float32 needs fewer multiplications: without VNNI often the fastest")
        )
    if not versions["torch"]:
        advice.append(Advice(_pip("export"), "PyTorch, needed only to train and export"))
    return tuple(advice)


def render(diagnosis: Diagnosis) -> Table:
    """Return the diagnosis as one table: subject, finding, meaning."""
    headings = ("", "found", "meaning")
    measured = _measured_rows(diagnosis, diagnosis.measured) if diagnosis.measured else []
    sections = (_machine_rows(diagnosis), _runtime_rows(diagnosis), _variant_rows(diagnosis), measured)
    ends = [end - 1 for end in accumulate(map(len, sections))]
    tasks = [("to do", advice.command, advice.reason) for advice in diagnosis.install]
    hint = "" if measured else "measure limits and small networks, half a minute: vegrt doctor --measure"
    return make_table("", headings, chain(*sections, tasks), text=headings, section_ends=ends, notes=[hint])


def _machine_rows(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    machine, gpu = diagnosis.machine, diagnosis.gpu
    devices = [
        ("GPU", device.name, f"compute capability {device.compute_capability or '?'}, {device.memory_mib or '?'} MiB")
        for device in gpu.gpus
    ]
    return [
        *([("board", machine.board, "")] if machine.board else []),
        ("CPU", machine.cpu.model, f"{machine.architecture}: {' '.join(machine.cpu.features) or 'plain'}"),
        ("cores", f"{machine.cores:g}", "that this process may use (affinity and cgroup quota applied)"),
        ("memory", f"{machine.memory_mib:,} MiB", "installed, or the cgroup's limit"),
        *(devices or [("GPU", "none", gpu.problem)]),
        *_driver_rows(gpu, diagnosis.gpu_software),
        ("Python", diagnosis.python, ""),
        ("cache", diagnosis.cache.folder or "none", f"{_mb(diagnosis.cache)} of compiled models; may be deleted"),
    ]


def _driver_rows(gpu: GpuProbe, software: GpuSoftware) -> list[tuple[str, str, str]]:
    if not (gpu.driver or gpu.cuda):
        return []
    state = "installed, and they fit" if software.ready else "to do below"
    return [
        ("driver", gpu.driver or "unknown", f"runs programs for CUDA {gpu.cuda} and older" if gpu.cuda else "NVIDIA"),
        *([("GPU packages", f"vegrt[{software.extra}]", state)] if software.extra else []),
    ]


def _runtime_rows(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    return [(runtime.name, runtime.version or "not installed", runtime.note) for runtime in diagnosis.runtimes]


def _variant_rows(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    missing = {runtime.name for runtime in diagnosis.runtimes if not runtime.version}
    return [
        (
            verdict.variant,
            f"{verdict.speed}, with {verdict.runtime}{' (missing)' if verdict.runtime in missing else ''}",
            verdict.reason,
        )
        for verdict in diagnosis.variants
    ]


def _measured_rows(diagnosis: Diagnosis, measured: MachineMeasurements) -> list[tuple[str, str, str]]:
    rows = []
    for threads in sorted({limit.threads for limit in measured.limits}, reverse=True):
        limits = [limit for limit in measured.limits if limit.threads == threads]
        best = {limit.arithmetic: limit.macs_per_s for limit in sorted(limits, key=lambda limit: limit.macs_per_s)}
        shown = ", ".join(f"{best[name] / 1e9:,.0f} in {name}" for name in ARITHMETICS if name in best)
        rows.append((f"limit, {threads} threads", f"{shown} GMAC/s", f"of a matrix product, {measured.created[:10]}"))
    for kind in NETWORK_KINDS:
        for variant in TIMED_VARIANTS:
            rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in measured.ranking(variant, kind).items())
            said = next(
                (_said(each) for each in diagnosis.comparisons if (each.kind, each.variant) == (kind, variant)), ""
            )
            rows += [(kind, f"{variant}: {rates} images/s", said)] if rates else []
    if measured.busy and measured.others_share is not None:
        cure = "the forecast ignores the measurements; repeat vegrt doctor --measure on a quiet machine"
        rows.append(("noisy", f"other programs used {measured.others_share:.0%} of the cores", cure))
    return [*rows, *((runtime, "not measured", reason) for runtime, reason in measured.absent.items())]


def _said(comparison: Comparison) -> str:
    if comparison.agrees:
        return "as forecast"
    return f"the forecast without it: {comparison.forecast}"


def _check_gpu(machine: Machine, gpu: GpuProbe) -> GpuSoftware:
    """Return how driver and packages fit. On a Jetson both come with JetPack, so that no set is advised."""
    if _is_jetson(machine):
        return GpuSoftware("", bool(gpu.gpus), ())
    packages = {name: version for name in DISTRIBUTIONS if (version := _version(name))}
    libraries = find_unloadable() if gpu.gpus and "onnxruntime-gpu" in packages else {}
    return check_gpu_software(GpuFacts(gpu, sys.version_info[:2], machine.architecture, packages, libraries))


def _cache() -> CacheUse:
    try:
        return CacheUse(str(cache_home()), cache_size_bytes())
    except VegrtError:
        return CacheUse("", 0)


def _mb(cache: CacheUse) -> str:
    return f"{cache.size_bytes / 1e6:,.0f} MB"


def _is_jetson(machine: Machine) -> bool:
    return "Jetson" in machine.board


def _pip(extra: str) -> str:
    return f"pip install 'vegrt[{extra}]'"


def _runtime(name: str, distributions: tuple[str, ...]) -> Runtime:
    versions = {name: version for name in distributions if (version := _version(name))}
    note = _providers() if name == "onnxruntime" and versions else ""
    rivals = [each for each in versions if each != "tensorrt"]  # which has no files: it only depends on tensorrt-cu13
    if len(rivals) > 1:
        note = f"{' and '.join(rivals)} are both installed and overwrite each other: uninstall all but one. {note}"
    return Runtime(name, next(iter(versions.values()), ""), note.strip())


def _plugins() -> tuple[Runtime, ...]:
    """Return ONNX Runtime's plug-in providers that are installed, under the names that --runtime takes."""
    return tuple(
        Runtime(f"onnxruntime+{state.package.name}", state.package.version, _devices(state))
        for state in examine_plugins([*installed_plugins().values()])
    )


def _devices(state: PluginState) -> str:
    if state.problem:
        return state.problem
    devices = ", ".join(f"{device.hardware} ({device.vendor})" for device in state.devices)
    return (
        f"plug-in provider, offers {devices}" if devices else "plug-in provider, which takes no device of this machine"
    )


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _providers() -> str:
    try:
        names = importlib.import_module("onnxruntime").get_available_providers()
    except (ImportError, AttributeError) as error:  # a broken install: two distributions, a missing system library
        return f"does not load: {error}"
    short = ", ".join(name.removesuffix("ExecutionProvider") for name in names)
    return f"lists {short}; a listed provider may still fail and silently fall back to the CPU"
