"""The recipe of quantization-aware training: its defaults, and the entries that the bundle determines. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegrt.errors import BundleError, DataError, VegrtError

if TYPE_CHECKING:  # `vegrt --help` imports this module and opens no bundle
    from vegrt.bundle.bundle import Bundle
    from vegrt.photo.contract import Contract

SETTLED = (
    "backbone",
    "head",
    "size",
    "fit",
    "interpolation",
    "weights",
)  # determined by the bundle; flags for them are refused
DEFAULTS: dict[str, Any] = {
    "epochs_head": 0,
    "epochs": 2,
    "lr": 2e-5,  # a tenth of fine-tuning's: the network is already trained and only adapts to rounding
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
    "augment": "light",
}


def open_source(path: Path) -> Bundle:
    """Return the bundle at `path`. Raises BundleError when it has no checkpoint, exported graph or calibration."""
    from vegrt.bundle.bundle import open_bundle

    bundle = open_bundle(path)
    if bundle.has("source"):
        raise BundleError(f"{path}: no checkpoint, it was made from an ONNX file; use a bundle of vegrt train")
    bundle.artifact("model", "fp32")
    bundle.artifact("calibration")
    if not all(bundle.manifest.model.get(name) for name in ("backbone", "head")):
        raise BundleError(f"{path}: its manifest has no backbone or head; train the bundle again")
    return bundle


def settled_values(path: str) -> dict[str, Any]:
    """Return the recipe entries that the bundle at `path` determines: the network, its weights and the bundle's identity."""
    bundle = open_source(Path(path))
    manifest = bundle.manifest
    return {
        "backbone": manifest.model["backbone"],
        "head": manifest.model["head"],
        "size": size_text(manifest.contract),
        "fit": manifest.contract.fit,
        "interpolation": manifest.contract.interpolation,
        "weights": str(bundle.file("weights")),
        "qat_sha256": bundle.sha256(),
    }


def size_text(contract: Contract) -> int | str:
    """Return the size of a contract as a recipe has it: pixels, or "HEIGHTxWIDTH"."""
    return contract.size if isinstance(contract.size, int) else f"{contract.height}x{contract.width}"


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe with those that its `qat` bundle determines. Raises VegrtError when they differ."""
    settled = settled_values(values["qat"])
    for name, value in settled.items():
        if values.get(name, value) != value:
            raise VegrtError(
                f"recipe: {name} is {values[name]!r}, expected {value!r} as in {values['qat']}; omit {name}"
            )
    return {**DEFAULTS, **values, **settled}


def check_classes(path: Path, classes: tuple[str, ...]) -> None:
    """Raise DataError unless the data has the classes of the bundle."""
    from vegrt.bundle.bundle import open_bundle

    if (expected := open_bundle(path, verify=False).manifest.classes) != classes:
        raise DataError(
            f"{path}: the data's classes are {', '.join(classes)}; expected {', '.join(expected)}; "
            "use the data that the bundle was trained on"
        )
