"""The bundle that quantization-aware training starts from: what it settles of the recipe, and why one is refused. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.errors import BundleError, DataError, VegrtError

SETTLED = ("backbone", "head", "size", "weights")  # by the bundle; flags for them are refused
DEFAULTS: dict[str, Any] = {
    "epochs_head": 0,
    "epochs": 2,
    "lr": 2e-5,  # a tenth of fine-tuning's: the network is trained, only rounding is new to it
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
    "augment": "light",
}


def open_source(path: Path) -> Bundle:
    """Return the bundle at `path`. Raises BundleError for one without checkpoint, exported graph or calibration."""
    bundle = open_bundle(path)
    if bundle.has("source"):
        raise BundleError(f"{path}: no checkpoint, it was made from an ONNX file; --qat needs one of vegrt train")
    bundle.artifact("model", "fp32")
    bundle.artifact("calibration")
    if not all(bundle.manifest.model.get(name) for name in ("backbone", "head")):
        raise BundleError(f"{path}: its manifest names no backbone and head; train it again")
    return bundle


def settled_values(path: str) -> dict[str, Any]:
    """Return what the bundle at `path` says of the recipe: the network, its weights and the bundle's identity."""
    bundle = open_source(Path(path))
    manifest = bundle.manifest
    return {
        "backbone": manifest.model["backbone"],
        "head": manifest.model["head"],
        "size": manifest.contract.size,
        "weights": str(bundle.file("weights")),
        "qat_sha256": bundle.sha256(),
    }


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's given values with what their `qat` bundle settles. Raises VegrtError where these contradict."""
    known = settled_values(values["qat"])
    for name, value in known.items():
        if values.get(name, value) != value:
            raise VegrtError(f"recipe: {name} is {values[name]!r}, that of {values['qat']} is {value!r}; omit {name}")
    return {**DEFAULTS, **values, **known}


def check_classes(path: Path, classes: tuple[str, ...]) -> None:
    """Raise DataError unless the data's classes are those of the bundle."""
    if (known := open_bundle(path, verify=False).manifest.classes) != classes:
        raise DataError(
            f"{path}: its classes are {', '.join(known)}; the data's are {', '.join(classes)}; give the data it learnt from"
        )
