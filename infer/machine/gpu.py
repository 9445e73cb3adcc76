"""Find the NVIDIA GPUs that can be used, in ways that cannot crash the process.

No TensorRT Runtime is constructed here: without a working CUDA driver it returns an object, and the process segfaults
at exit (tensorrt-lean 10.16). `cudaGetDeviceCount` answers with an error code instead.
"""

from __future__ import annotations

import ctypes
import importlib
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

_DRIVER_FILE = Path("/proc/driver/nvidia/version")
# One of them exists wherever CUDA can answer: a PC or server, a Jetson, WSL.
_DEVICE_FILES = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/nvmap", "/dev/dxg")
_SMI_TIMEOUT_S = 10  # a wedged driver makes nvidia-smi hang
_BUS_ID_CHARACTERS = 20  # CUDA asks for at least 13
INSUFFICIENT_DRIVER = 35  # cudaErrorInsufficientDriver


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. compute_capability: such as "8.7"; empty if unknown. memory_mib: 0 if unknown."""

    name: str
    compute_capability: str
    memory_mib: int

    @property
    def target(self) -> str:
        """Return the compute capability as TensorRT writes it: sm87."""
        return "sm" + self.compute_capability.replace(".", "")


@dataclass(frozen=True, slots=True)
class GpuProbe:
    """The usable GPUs.

    driver: its version, or empty. problem: the reason why there is no GPU; empty if there is one. cuda: the newest CUDA that the
    driver supports, such as "12.4"; empty if unknown. error: CUDA's error number (cudaError_t) if it gave one, else 0.
    """

    gpus: tuple[Gpu, ...]
    driver: str
    problem: str
    cuda: str = ""
    error: int = 0


def probe_gpus() -> GpuProbe:
    """Return the GPUs that CUDA can use; without cuda-bindings, those that nvidia-smi lists."""
    try:
        driver = parse_driver_version(_DRIVER_FILE.read_text(encoding="utf-8"))
    except OSError:
        driver = ""
    try:
        importlib.import_module("cuda.bindings.runtime")
    except ImportError:
        return replace(_ask_nvidia_smi(driver), cuda=supported_cuda())
    return _ask_cuda(driver, supported_cuda())


def has_gpu() -> bool:
    """Return whether CUDA can use a GPU. Without a driver's device file it is not asked: importing cuda-bindings takes 0.15 s."""
    return any(Path(name).exists() for name in _DEVICE_FILES) and bool(probe_gpus().gpus)


def first_bus_id() -> str:
    """Return the PCI bus address of CUDA's first device, as "0000:01:00.0"; empty without a GPU or cuda-bindings."""
    try:
        cudart = importlib.import_module("cuda.bindings.runtime")
    except ImportError:
        return ""
    error, address = cudart.cudaDeviceGetPCIBusId(_BUS_ID_CHARACTERS, 0)
    return _c_string(address) if error == cudart.cudaError_t.cudaSuccess else ""


def supported_cuda() -> str:
    """Return the newest CUDA that the driver's library supports, as "12.4"; empty where it cannot be loaded.

    A cuda-compat package beside an older driver counts, and so does WSL, where /proc has no driver.
    """
    version = ctypes.c_int(0)
    try:
        error = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))  # needs no cuInit
    except (OSError, AttributeError):
        return ""
    return cuda_version(version.value) if error == 0 else ""


def cuda_version(number: int) -> str:
    """Return a version that CUDA gives as 1000 * major + 10 * minor: "12.4" for 12040, empty for 0."""
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def parse_driver_version(text: str) -> str:
    """Return the version in a /proc/driver/nvidia/version, or an empty string."""
    match = re.search(r"NVRM version:.*?\s(\d+\.[\d.]+)\s", text)
    return match.group(1) if match else ""


def parse_nvidia_smi(text: str) -> tuple[Gpu, ...]:
    """Return the GPUs in `nvidia-smi --query-gpu=name,compute_cap,memory.total --format=csv,noheader,nounits`.

    A Jetson answers [N/A] for its memory, which it shares with the CPU.
    """
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return tuple(
        Gpu(name, capability if capability[0].isdigit() else "", int(memory) if memory.isdigit() else 0)
        for name, capability, memory in (row for row in rows if len(row) == 3 and all(row))
    )


def error_words(number: int, name: str, driver: str) -> str:
    """Return an error of CUDA in words. driver: version of the driver or of the CUDA that it supports; empty without one."""
    why = "the driver is older than the CUDA of the packages" if driver else "no NVIDIA driver"
    return f"CUDA error {number} ({name})" + (f": {why}" if number == INSUFFICIENT_DRIVER else "")


def _c_string(value: bytes) -> str:
    return value.split(b"\0")[0].decode()


def _ask_cuda(driver: str, cuda: str) -> GpuProbe:
    cudart = importlib.import_module("cuda.bindings.runtime")
    error, count = cudart.cudaGetDeviceCount()
    if error != cudart.cudaError_t.cudaSuccess:
        return GpuProbe((), driver, error_words(int(error), error.name, driver or cuda), cuda, int(error))
    gpus = []
    for index in range(count):
        error, properties = cudart.cudaGetDeviceProperties(index)
        if error == cudart.cudaError_t.cudaSuccess:
            capability = f"{properties.major}.{properties.minor}"
            gpus.append(Gpu(properties.name.decode(), capability, properties.totalGlobalMem >> 20))
    return GpuProbe(tuple(gpus), driver, "" if gpus else "CUDA lists no device", cuda)


def _ask_nvidia_smi(driver: str) -> GpuProbe:
    program = shutil.which("nvidia-smi")
    if program is None:
        return GpuProbe((), driver, "no nvidia-smi" if not driver else "driver loaded, but no nvidia-smi to list GPUs")
    query = [program, "--query-gpu=name,compute_cap,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return GpuProbe((), driver, f"nvidia-smi fails ({type(error).__name__})")
    gpus = parse_nvidia_smi(answer.stdout)
    return GpuProbe(gpus, driver, "" if gpus else "nvidia-smi lists no GPU")
