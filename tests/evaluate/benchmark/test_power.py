"""NVML: the names that we use exist in nvidia-ml-py, units are ours, and a machine without a GPU is no error."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from vegrt.evaluate.benchmark.power import QUANTITIES, GpuWatch, read_gpu, watch_gpu
from vegrt.infer.machine.gpu import first_bus_id, probe_gpus
from vegrt.results.benchmark import GpuReading
from vegrt.results.convert import to_dict

SOURCE = Path(__file__).parents[3] / "evaluate/benchmark/power.py"


def stand_in(**more: Any) -> Any:
    """Return what answers like an NVML of one GPU that draws 71.5 W; names that the real one lacks are refused."""
    answers = {
        "nvmlDeviceGetPowerUsage": lambda handle: 71_500,
        "nvmlDeviceGetClockInfo": lambda handle, clock: 1980 if clock == pynvml.NVML_CLOCK_SM else 0,
        "nvmlDeviceGetTemperature": lambda handle, sensor: 41,
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=3 << 20),
        "nvmlDeviceGetName": lambda handle: "a GPU",
        "nvmlSystemGetDriverVersion": lambda: "580.1",
        "NVML_CLOCK_SM": pynvml.NVML_CLOCK_SM,
        "NVML_TEMPERATURE_GPU": pynvml.NVML_TEMPERATURE_GPU,
        "NVMLError": pynvml.NVMLError,
    } | more
    assert all(hasattr(pynvml, name) for name in answers)
    return SimpleNamespace(**answers)


def test_every_nvml_name_exists() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and "nvml" in ast.unparse(node.value)
        and node.attr.lower().startswith("nvml")
    }
    assert {"nvmlInit", "nvmlDeviceGetPowerUsage", "nvmlShutdown", "NVMLError", "NVML_CLOCK_SM"} <= used
    assert {name for name in used if not hasattr(pynvml, name)} == set()


def test_readings_are_in_our_units_and_what_is_not_supported_is_left_out() -> None:
    assert read_gpu(stand_in(), None) == {
        "power_w": 71.5,
        "clock_mhz": 1980.0,
        "temperature_c": 41.0,
        "memory_mib": 3.0,
    }

    def unsupported(_: Any) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    assert "power_w" not in read_gpu(stand_in(nvmlDeviceGetPowerUsage=unsupported), None)
    watch = GpuWatch(stand_in(nvmlDeviceGetPowerUsage=unsupported), None)
    watch.start()
    watch.stop()
    summary = watch.summary()
    assert summary.name == "a GPU"
    assert summary.power_w is None
    assert summary.temperature_c == GpuReading(41.0, 41.0)
    assert to_dict(summary).keys() == {"name", "driver", *QUANTITIES}


def test_without_a_gpu_there_is_nothing_to_watch(caplog: pytest.LogCaptureFixture) -> None:
    if probe_gpus().gpus:
        pytest.skip("this machine has a GPU")
    assert first_bus_id() == ""
    with watch_gpu(False) as watch:
        assert watch is None
    assert not caplog.text
    with watch_gpu(True) as watch:
        assert watch is None
    assert "NVML reports" in caplog.text
