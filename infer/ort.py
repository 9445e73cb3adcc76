"""ONNX Runtime: an ONNX model as a runner, and a float model with its inner tensors exposed for calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import ModelError, VegrtError, require
from vegrt.infer.machine import usable_cores
from vegrt.infer.runner import RuntimeName

# This pass turns int8 models with float16 scales into garbage on the CPU provider (1.31, 1.32). With float32 scales it is
# right, and needed: it quantizes the bias, without which no convolution becomes an 8-bit one.
_BROKEN_FOR_FLOAT16 = ["WeightBiasQuantization"]
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntimeRunner:
    """One ONNX model in ONNX Runtime."""

    runtime: RuntimeName = "onnxruntime"

    def __init__(self, session: Any, device: str) -> None:
        self.device = device
        self._session = session

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images."""
        result: NDArray[np.float32] = self._session.run(["logits"], {"images": images})[0]
        return result


def open_onnxruntime(
    model: Path | bytes, *, float16: bool = False, device: str = "cpu", threads: int = 0
) -> OnnxRuntimeRunner:
    """Return a runner for an ONNX file or its bytes on `device` (cpu or cuda).

    float16: whether the model's scales are float16. threads: 0 for all cores allowed to us.
    Raises VegrtError when the provider asked for is not what the session really uses.
    """
    session = open_session(model, float16=float16, device=device, threads=threads)
    if (used := session.get_providers()[0]) != _PROVIDERS[device]:
        raise VegrtError(
            f"onnxruntime: {device} was asked for, {used} would run; pip install 'vegrt[gpu]', check the driver"
        )
    names = [[value.name for value in values] for values in (session.get_inputs(), session.get_outputs())]
    if names[0] != ["images"] or "logits" not in names[1]:
        subject = model if isinstance(model, Path) else "model"
        shown = (", ".join(part) for part in names)
        raise ModelError(f"{subject}: takes {next(shown)} and gives {next(shown)}; expected images and logits")
    return OnnxRuntimeRunner(session, device)


def open_session(model: Path | bytes, *, float16: bool = False, device: str = "cpu", threads: int = 0) -> Any:
    """Return an onnxruntime.InferenceSession. Raises ModelError when the file is no model that it can load."""
    ort = require("onnxruntime", "gpu" if device == "cuda" else "cpu")
    if device not in _PROVIDERS:
        raise VegrtError(f"onnxruntime: unknown device {device!r}; expected one of {', '.join(_PROVIDERS)}")
    ort.set_default_logger_severity(3)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.log_severity_level = 3
    if device == "cuda":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        return ort.InferenceSession(
            str(model) if isinstance(model, Path) else model,
            options,
            providers=[_PROVIDERS[device]],
            disabled_optimizers=_BROKEN_FOR_FLOAT16 if float16 else None,
        )
    except Exception as error:  # its exceptions share no base class but Exception
        subject = model if isinstance(model, Path) else "model"
        raise ModelError(f"{subject}: ONNX Runtime cannot load it ({str(error).splitlines()[0]})") from error


def read_tensors(model: bytes, names: Sequence[str]) -> Any:
    """Return a function from (N, H, W, 3) uint8 images to the tensors `names`, which `model` has as outputs."""
    session = open_session(model)
    return lambda images: session.run(list(names), {"images": images})


def available_cores() -> int:
    """Return how many threads of work this process may do at once: its affinity, and every cgroup quota above it."""
    return max(1, int(usable_cores()))
