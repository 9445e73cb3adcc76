"""ONNX Runtime on the CPU: runs every .onnx file of a kit. `pip install onnxruntime`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import onnxruntime


def open_model(file: str) -> Callable[[Any], Any]:
    """Return a function that maps the input of one photo to its logits."""
    # ONNX Runtime 1.31 and 1.32 compute garbage from float16 scales, which int8.onnx has, unless this pass is left out
    passes = ["WeightBiasQuantization"] if Path(file).name == "int8.onnx" else None
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"], disabled_optimizers=passes)
    return lambda inputs: session.run(["logits"], {"images": inputs})[0]
