"""vegrt: image classifiers as ONNX, FP16, INT8 and TensorRT files, with evidence that accuracy survived.

    from vegrt import load
    model = load("models/resnet18")
    model.predict("photo.jpg").label

`import vegrt` loads nothing but the standard library; the names below bring numpy and Pillow with them when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vegrt.version import __version__

if TYPE_CHECKING:
    from vegrt.errors import DataError, VegrtError
    from vegrt.infer.answers import Prediction, Score
    from vegrt.infer.api import Model, load

__all__ = ["DataError", "Model", "Prediction", "Score", "VegrtError", "__version__", "load"]

_HOMES = dict.fromkeys(("Model", "Prediction", "Score", "load"), "vegrt.infer.api")
_HOMES |= dict.fromkeys(("DataError", "VegrtError"), "vegrt.errors")


def __getattr__(name: str) -> object:
    """Return a public name from where it is defined, on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
