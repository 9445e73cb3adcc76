"""The facts about a machine that decide which candidates run on it, and how fast they are expected to be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from vegrt.errors import VegrtError
from vegrt.infer.machine.gpu import GpuProbe, has_gpu, probe_gpus
from vegrt.infer.machine.measured import MachineMeasurements, load_measurements
from vegrt.infer.runtimes.fingerprint import Fingerprint
from vegrt.infer.runtimes.onnxruntime.session import has_provider
from vegrt.infer.runtimes.runner import Device, RuntimeName
from vegrt.infer.runtimes.tensorrt.engine import local_fingerprint
from vegrt.machine import Cpu, examine_machine

RUNTIMES: tuple[RuntimeName, ...] = ("onnxruntime", "openvino", "mnn", "tensorrt", "torch", "onnxruntime-tensorrt")
_PACKAGES = {"openvino": "openvino", "mnn": "MNN", "tensorrt": "tensorrt", "torch": "torchvision"}
_NO_GPU = GpuProbe((), "", "not needed")


@dataclass(frozen=True, slots=True)
class Host:
    """A machine. runtimes: those that are installed. cuda_provider: whether ONNX Runtime was built for CUDA.

    tensorrt: the fingerprint that an engine must fit; None where no engine can run. measured: what `vegrt doctor --measure` kept.
    """

    cpu: Cpu
    gpu: GpuProbe
    runtimes: frozenset[RuntimeName]
    cuda_provider: bool = False
    tensorrt: Fingerprint | None = None
    measured: MachineMeasurements | None = None

    def processor(self, device: Device) -> str:
        """Return the name of the GPU, empty without one, or of the CPU."""
        if device == "cpu":
            return self.cpu.model
        return self.gpu.gpus[0].name if self.gpu.gpus else ""


def examine_host(device: Device | None = None) -> Host:
    """Return the facts about this machine. device: for the CPU, nothing is asked about a GPU, which takes a second."""
    cpu = examine_machine().cpu
    installed = frozenset(name for name in RUNTIMES if is_installed(name))
    measured = load_measurements(cpu)
    if device == "cpu" or not has_gpu():
        return Host(cpu, _NO_GPU, installed, measured=measured)
    has_cuda = "onnxruntime" in installed and has_provider("cuda")
    return Host(cpu, probe_gpus(), installed, has_cuda, _fingerprint() if "tensorrt" in installed else None, measured)


def gpu_name(devices: Iterable[Device]) -> str | None:
    """Return the name of the GPU that runs candidates on these devices; None if none of them is a GPU, or without one."""
    gpus = probe_gpus().gpus if "cuda" in devices else ()
    return gpus[0].name if gpus else None


def is_installed(runtime: RuntimeName) -> bool:
    """Return whether the runtime's package is installed, without importing it."""
    return find_spec(package_of(runtime)) is not None


def package_of(runtime: RuntimeName) -> str:
    """Return the name by which Python imports a runtime's package."""
    return _PACKAGES.get(runtime, "onnxruntime")


def _fingerprint() -> Fingerprint | None:
    try:
        return local_fingerprint()
    except VegrtError:  # opening an engine reports it
        return None
