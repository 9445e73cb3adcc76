"""vegrt exports, quantizes and runs image classifiers with ONNX and TensorRT, and measures the accuracy that is lost.

    from vegrt import load
    model = load("models/resnet18")
    model.predict("photo.jpg").label

`import vegrt` loads only the standard library; the names below import numpy and Pillow on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vegrt.version import __version__

if TYPE_CHECKING:
    from vegrt.errors import DataError, VegrtError
    from vegrt.infer.answers import Prediction, Score
    from vegrt.infer.api import Model, load

__all__ = ["DataError", "Model", "Prediction", "Score", "VegrtError", "__version__", "load"]

_HOMES = {
    **dict.fromkeys(("Model", "Prediction", "Score", "load"), "vegrt.infer.api"),
    **dict.fromkeys(("DataError", "VegrtError"), "vegrt.errors"),
}


def __getattr__(name: str) -> object:
    """Import a public name on first use, from the module that defines it (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
