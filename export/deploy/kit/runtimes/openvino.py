"""OpenVINO on the CPU: runs the .onnx files of a kit. `pip install openvino`."""

from __future__ import annotations

from typing import Any, Callable

import openvino


def open_model(file: str) -> Callable[[Any], Any]:
    """Return a function that maps the input of one photo to its logits."""
    # without the hint, CPUs with bfloat16 instructions would compute in bfloat16
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda inputs: compiled(inputs)["logits"]
