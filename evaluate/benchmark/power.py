"""Power, clock, temperature and memory of an NVIDIA GPU during a benchmark, read through NVML. Not yet run on hardware.

The tests check the names against nvidia-ml-py. Quantities that a GPU does not report (a Jetson lacks most) are left out.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vegrt.infer.machine.gpu import first_bus_id
from vegrt.results.benchmark import GpuReading, GpuRecord

log = logging.getLogger(__name__)

QUANTITIES = ("power_w", "clock_mhz", "temperature_c", "memory_mib")
_PERIOD_S = 0.05


class GpuWatch:
    """Samples one GPU in a separate thread between `start` and `stop`."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self._name, self._driver = nvml.nvmlDeviceGetName(handle), nvml.nvmlSystemGetDriverVersion()
        self._samples: dict[str, list[float]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="nvml", daemon=True)

    def start(self) -> None:
        """Start sampling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling; return after the last sample."""
        self._done.set()
        self._thread.join()

    def summary(self) -> GpuRecord:
        """Return name, driver, and mean and maximum of each quantity; None for a quantity without samples."""
        readings = {name: GpuReading(sum(values) / len(values), max(values)) for name, values in self._samples.items()}
        return GpuRecord(self._name, self._driver, *(readings.get(name) for name in QUANTITIES))

    def _sample(self) -> None:
        while True:
            for name, value in read_gpu(self._nvml, self._handle).items():
                self._samples.setdefault(name, []).append(value)
            if self._done.wait(_PERIOD_S):
                return


@contextmanager
def watch_gpu(enabled: bool) -> Iterator[GpuWatch | None]:
    """Watch CUDA's first GPU while the block runs. Yields None if not `enabled`, without a GPU, or without nvidia-ml-py."""
    nvml = _nvml() if enabled else None
    if nvml is None:
        yield None
        return
    try:
        watch = _watch(nvml)
        try:
            yield watch
        finally:
            if watch:
                watch.stop()
    finally:
        nvml.nvmlShutdown()


def read_gpu(nvml: Any, handle: Any) -> dict[str, float]:
    """Return the GPU's present power_w, clock_mhz (multiprocessors), temperature_c, memory_mib (used by all processes)."""
    readings: dict[str, Callable[[], float]] = {
        "power_w": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        "clock_mhz": lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        "temperature_c": lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        "memory_mib": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used / 2**20,
    }
    values: dict[str, float] = {}
    for name, read in readings.items():
        try:
            values[name] = read()
        except nvml.NVMLError:  # mostly NotSupported
            continue
    return values


def _nvml() -> Any | None:
    """Return the initialised module; None, with a warning, if it is missing or fails."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        log.warning("GPU power and clocks are not measured: pip install nvidia-ml-py")
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        log.warning("GPU power and clocks are not measured: NVML reports %s", error)
        return None
    return nvml


def _watch(nvml: Any) -> GpuWatch | None:
    try:
        watch = GpuWatch(nvml, _handle(nvml))
    except nvml.NVMLError as error:
        log.warning("GPU power and clocks are not measured: NVML reports %s", error)
        return None
    watch.start()
    return watch


def _handle(nvml: Any) -> Any:
    """Return the handle of CUDA's first device, which need not be NVML's first."""
    if bus_id := first_bus_id():
        return nvml.nvmlDeviceGetHandleByPciBusId(bus_id)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip()
    return nvml.nvmlDeviceGetHandleByIndex(int(visible) if visible.isdigit() else 0)
