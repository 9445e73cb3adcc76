"""vegrt exports, quantizes and runs image classifiers with ONNX and TensorRT, and measures the accuracy that is lost.

    import vegrt
    vegrt.train("data", "models/resnet18")
    vegrt.export("models/resnet18", "data")
    vegrt.evaluate("models/resnet18", "data")
    vegrt.load("models/resnet18").predict("photo.jpg").label

`import vegrt` loads only the standard library; the names below import what they need on first use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vegrt.version import __version__

if TYPE_CHECKING:
    from vegrt.api.benchmarking import bench
    from vegrt.api.evaluation import evaluate, robustness
    from vegrt.api.exporting import calibrate, export
    from vegrt.api.reporting import report
    from vegrt.api.training import train
    from vegrt.api.trust import trust
    from vegrt.errors import ArgumentError, DataError, VegrtError
    from vegrt.infer.answers import Prediction, Score
    from vegrt.infer.api import Model, load

__all__ = [
    "ArgumentError",
    "DataError",
    "Model",
    "Prediction",
    "Score",
    "VegrtError",
    "__version__",
    "bench",
    "calibrate",
    "evaluate",
    "export",
    "load",
    "report",
    "robustness",
    "train",
    "trust",
]

# From 1.29 on, ONNX Runtime tells its publisher about every model that it loads, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_STAGES = ("evaluate", "export", "report", "train")  # packages that can be called (docs/decisions/0049)
_HOMES = {
    **dict.fromkeys(("Model", "Prediction", "Score", "load"), "vegrt.infer.api"),
    **dict.fromkeys(("ArgumentError", "DataError", "VegrtError"), "vegrt.errors"),
    "bench": "vegrt.api.benchmarking",
    "calibrate": "vegrt.api.exporting",
    "robustness": "vegrt.api.evaluation",
    "trust": "vegrt.api.trust",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use, from the module that defines it (PEP 562)."""
    if name not in _HOMES and name not in _STAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name in _STAGES:
        return import_module(f"{__name__}.{name}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
