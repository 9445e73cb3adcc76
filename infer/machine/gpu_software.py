"""Check whether driver, CUDA and installed packages fit together, and say which command cures what does not.

Works on values only; `vegrt doctor` collects them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vegrt.infer.machine.gpu import INSUFFICIENT_DRIVER, GpuProbe
from vegrt.infer.machine.gpu_sets import CUDA12, CUDA13, SETS, GpuSet, Python, driver_branch

# CUDA Runtime API, cudaError_t: what cures the errors that a machine with a GPU gives before anything runs. Error 35, a driver
# that is older than the runtime, is cured by the packages of another set.
_ERRORS = {
    100: ("env -u CUDA_VISIBLE_DEVICES vegrt doctor", "no device is visible; CUDA_VISIBLE_DEVICES may hide it"),
    802: ("sudo systemctl start nvidia-fabricmanager", "NVSwitch systems need the fabric manager"),
    803: ("sudo reboot", "the driver's library and kernel module have different versions, as after an update"),
    804: ("env -u LD_LIBRARY_PATH vegrt doctor", "a cuda-compat library is in use, which this GPU does not support"),
    999: (
        "sudo modprobe nvidia_uvm",
        "the kernel module nvidia_uvm is missing or failed; if that does not help: sudo reboot",
    ),
}
# Distributions that install into one folder: two of a family overwrite each other.
_FAMILIES = (
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    (
        *("tensorrt", "tensorrt-cu12", "tensorrt-cu12-bindings", "tensorrt-cu12-libs"),
        *("tensorrt-cu13", "tensorrt-cu13-bindings", "tensorrt-cu13-libs"),
    ),
)
DISTRIBUTIONS = tuple(sorted({name for group in (*_FAMILIES, *(each.names() for each in SETS)) for name in group}))


@dataclass(frozen=True, slots=True)
class Advice:
    """A command that gives this machine another capability or speed."""

    command: str
    reason: str


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """What was probed.

    packages: versions of those DISTRIBUTIONS that are installed. libraries: the loader's words for each provider of ONNX Runtime
    that does not load; empty when all load or none was tried.
    """

    probe: GpuProbe
    python: Python
    architecture: str
    packages: Mapping[str, str]
    libraries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GpuSoftware:
    """The outcome. extra: the set that fits this machine; empty if none does. ready: a driver, and nothing to do."""

    extra: str
    ready: bool
    advice: tuple[Advice, ...]


def check_gpu_software(facts: GpuFacts) -> GpuSoftware:
    """Return the set that fits and what is to do. Without an NVIDIA driver there is nothing to do and nothing is ready."""
    probe = facts.probe
    if not (probe.driver or probe.cuda or probe.gpus):
        return GpuSoftware("", False, ())
    runnable = [each for each in SETS if each.fits_driver(probe.driver, probe.cuda)]
    if not runnable:
        return GpuSoftware("", False, (_newer_driver(CUDA13.driver, probe, f"CUDA 12 needs {CUDA12.driver} or newer"),))
    usable = [each for each in runnable if each.has_wheels(facts.python, facts.architecture)]
    if not usable:
        return GpuSoftware("", False, (_other_python(facts, runnable[0]),))
    fitting = min(usable, key=lambda each: len(_wrong(each, facts)))
    advice = [*_install(fitting, facts), *_cure_device(fitting, facts)]
    return GpuSoftware(fitting.extra, not advice, tuple(advice))


def _install(fitting: GpuSet, facts: GpuFacts) -> list[Advice]:
    """Return at most one command, which installs the set and first removes what overwrites it or would stay beside it."""
    wrong, packages = _wrong(fitting, facts), facts.packages
    reasons = [
        *wrong.values(),
        *(f"{name} is missing" for name in fitting.names() if name not in packages),
        *(f"{provider} does not load: {words}" for provider, words in facts.libraries.items()),
    ]
    if not reasons:
        return []
    if facts.probe.error == INSUFFICIENT_DRIVER:
        reasons.insert(0, facts.probe.problem)
    if "onnxruntime-gpu" in fitting.names() and "onnxruntime" in packages:
        wrong = {**wrong, "onnxruntime": ""}
    families = [family for family in _FAMILIES if not wrong.keys().isdisjoint(family)]
    removed = [name for family in families for name in family if name in packages]
    uninstall = f"pip uninstall --yes {' '.join(removed)} && " if removed else ""
    return [Advice(f"{uninstall}pip install 'vegrt[{fitting.extra}]'", "; ".join(reasons))]


def _wrong(fitting: GpuSet, facts: GpuFacts) -> dict[str, str]:
    """Return the installed distributions that cannot stay as they are, each with the reason."""
    packages, driver = facts.packages, _driver_words(facts.probe)
    reasons = {
        expected.name: f"{expected.name} {packages[expected.name]} does not fit {driver}; expected {expected}"
        for expected in fitting.packages
        if expected.name in packages and not expected.accepts(packages[expected.name])
    }
    foreign = {name for each in SETS for name in each.names()} - set(fitting.names())
    reasons |= {
        name: f"{name} {packages[name]} is not of vegrt[{fitting.extra}]"
        for name in sorted(foreign)
        if name in packages
    }
    runtimes = [name for name in _FAMILIES[0] if name in packages]
    if len(runtimes) > 1:
        reasons[runtimes[0]] = f"{' and '.join(runtimes)} are both installed and overwrite each other"
    return reasons


def _cure_device(fitting: GpuSet, facts: GpuFacts) -> list[Advice]:
    """Return what to do where CUDA finds no GPU although the packages fit, or where TensorRT wants a newer driver."""
    probe = facts.probe
    if probe.error in _ERRORS:
        command, reason = _ERRORS[probe.error]
        return [Advice(command, f"{probe.problem}: {reason}")]
    if not probe.gpus and not _wrong(fitting, facts):
        options = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility IMAGE"
        return [
            Advice(options, f"{_driver_words(probe)} is loaded, but {probe.problem}; a container needs these options")
        ]
    if probe.driver and driver_branch(probe.driver) < fitting.tensorrt_driver:
        return [_newer_driver(fitting.tensorrt_driver, probe, f"TensorRT needs {fitting.tensorrt_driver} or newer")]
    return []


def _newer_driver(branch: int, probe: GpuProbe, reason: str) -> Advice:
    command = f"sudo ubuntu-drivers install nvidia:{branch}"
    return Advice(command, f"{_driver_words(probe)}: {reason}; outside Ubuntu: https://www.nvidia.com/drivers")


def _other_python(facts: GpuFacts, gpu_set: GpuSet) -> Advice:
    oldest, newest = (f"{major}.{minor}" for major, minor in gpu_set.pythons)
    running = f"Python {facts.python[0]}.{facts.python[1]} on {facts.architecture}"
    return Advice(
        "python3.12 -m venv .venv",
        f"{running}: {gpu_set.extra} has no wheels for it; expected {oldest} to {newest} on {' or '.join(gpu_set.architectures)}",
    )


def _driver_words(probe: GpuProbe) -> str:
    supported = f" (CUDA {probe.cuda})" if probe.cuda else ""
    return f"driver {probe.driver or 'of unknown version'}{supported}"
