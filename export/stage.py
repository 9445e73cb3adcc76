"""The export stage: a trained bundle gains its ONNX variants, calibration, golden images and, when asked, engines."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.bundle import Artifact, Bundle, Staging, changing, open_bundle
from vegrt.calibration.photos import CalibrationPhotos, calibration_photos
from vegrt.calibration.settings import Settings
from vegrt.calibration.stage import finish_calibration, run_calibration
from vegrt.dataset import Photo
from vegrt.export.calibrated import add_calibration, copy_of, images, int8_models, provenance, subject_of
from vegrt.export.engines import add_engines
from vegrt.export.fp16 import to_fp16
from vegrt.export.golden import add_golden
from vegrt.export.model import Parity, check_parity, export_fp32, measure_parity, serialize
from vegrt.infer.oracle import TorchRunner
from vegrt.infer.ort import open_onnxruntime
from vegrt.infer.results import versions
from vegrt.preprocess import Contract

PARITY_PHOTOS = 200
_TOOLS = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu")


def export(
    path: Path,
    data: Path,
    *,
    engines: bool | None = None,
    near_test: Collection[str] = (),
    settings: Settings | None = None,
) -> Bundle:
    """Write fp32, fp16, int8 and int8-cpu ONNX models into the bundle at `path` and return it.

    data: its validation split calibrates and checks parity. engines: True builds TensorRT engines or says why it cannot; None
    builds them where a TensorRT module is usable. near_test: validation photos that do not calibrate, see calibration_photos.
    Raises ModelError when a model is not what its reference is; the bundle is then as it was.
    """
    bundle, settings = open_bundle(path), settings or Settings()
    contract = bundle.manifest.contract
    photos = calibration_photos(data, bundle.manifest.classes, contract, near_test=near_test)
    fp32 = export_fp32(bundle)
    source = serialize(fp32)
    parity = {"fp32": _check_fp32(bundle, source, photos.used, contract)}
    made = Made(fp32, {"fp32": source}, parity)
    return complete(bundle, made, photos, engines=engines, settings=settings)


def recalibrate(
    path: Path,
    data: Path,
    *,
    engines: bool | None = None,
    near_test: Collection[str] = (),
    settings: Settings | None = None,
) -> Bundle:
    """Calibrate the bundle's fp32.onnx anew and replace what depends on it; arguments and errors as for `export`."""
    bundle, settings = open_bundle(path), settings or Settings()
    model = bundle.artifact("model", "fp32")
    photos = calibration_photos(data, bundle.manifest.classes, bundle.manifest.contract, near_test=near_test)
    source = (bundle.path / model.path).read_bytes()
    made = Made(load_model(source), {"fp32": source}, {"fp32": Parity(**model.details["parity"])})
    return complete(bundle, made, photos, engines=engines, settings=settings)


def load_model(data: bytes) -> ir.Model:
    """Return the graph of an .onnx file's bytes."""
    return ir.from_proto(onnx.load_model_from_string(data))


@dataclass(frozen=True, slots=True)
class Made:
    """What the rest is made of: the float32 graph, the models written so far, and their parity, both by variant."""

    fp32: ir.Model
    models: dict[str, bytes]
    parity: dict[str, Parity]


def complete(
    bundle: Bundle, made: Made, photos: CalibrationPhotos, *, engines: bool | None, settings: Settings
) -> Bundle:
    """Add all other variants, calibration, golden photos and engines to a bundle's float32 graph; return the new bundle."""
    path, contract = bundle.path, bundle.manifest.contract
    outcome = run_calibration(path, subject_of(made.fp32, photos.used, contract, settings), settings)
    fp16 = copy_of(made.fp32)
    to_fp16(fp16)
    models = made.models | {"fp16": serialize(fp16)} | int8_models(made.fp32, outcome, settings)
    parity = made.parity | _check_variants(models, photos.used, contract, settings)
    with changing(path) as staging:
        _add_models(staging, models, parity, settings)
        add_calibration(staging, outcome)
        add_golden(staging, photos.used, contract, open_onnxruntime(models["fp32"]))
        add_engines(staging, models, required=engines)
        known = provenance(made.fp32, outcome, photos.used, photos.left_out, settings)
        manifest = replace(bundle.manifest, artifacts=_before_export(bundle), calibration=known)
        staging.finish(replace(manifest, tools=manifest.tools | versions(_TOOLS)))
    finish_calibration(path)
    return open_bundle(path)


def _before_export(bundle: Bundle) -> tuple[Artifact, ...]:
    """Return what training made: engines and models of an earlier export must not stand beside new ones."""
    return tuple(artifact for artifact in bundle.manifest.artifacts if artifact.role == "weights")


def _check_fp32(bundle: Bundle, source: bytes, photos: list[Photo], contract: Contract) -> Parity:
    some = images(photos[:PARITY_PHOTOS], contract, "Parity with torch")()
    parts = (part for batch in some for part in _odd_parts(batch))
    parity = measure_parity(TorchRunner(bundle), open_onnxruntime(source), parts)
    check_parity("fp32.onnx", parity, min_cosine=0.9999, min_agreement=1.0)
    return parity


def _odd_parts(images: NDArray[np.uint8]) -> Iterable[NDArray[np.uint8]]:
    """Split a batch into 1, 2, 7 and the rest: a graph with a baked-in batch size fails at once."""
    return (part for part in np.split(images, [1, 3, 10]) if len(part))


def _check_variants(
    models: dict[str, bytes], photos: list[Photo], contract: Contract, settings: Settings
) -> dict[str, Parity]:
    """Compare with fp32. fp16 has to be equal but for near ties; int8 is judged by `vegrt evaluate`, here only measured."""
    some = photos[:PARITY_PHOTOS]
    reference = open_onnxruntime(models["fp32"])
    parity: dict[str, Parity] = {}
    for variant in ("fp16", "int8", "int8-cpu"):
        runner = open_onnxruntime(models[variant], float16=_rest(variant, settings) == "float16")
        parity[variant] = measure_parity(reference, runner, images(some, contract, f"Parity of {variant}")())
    check_parity("fp16.onnx", parity["fp16"], min_cosine=0.999, min_agreement=0.98)
    return parity


def _add_models(staging: Staging, models: dict[str, bytes], parity: dict[str, Parity], settings: Settings) -> None:
    for variant, data in models.items():
        staging.file(f"{variant}.onnx").write_bytes(data)
        details = {
            "parity": parity[variant].to_dict(),
            "reference": "torch" if variant == "fp32" else "fp32",
            "float": _rest(variant, settings),
        }
        staging.add(f"{variant}.onnx", "model", variant, details)


def _rest(variant: str, settings: Settings) -> str:
    """Return the type of what is not 8-bit in a variant."""
    return {"fp16": "float16", "int8": settings.rest}.get(variant, "float32")


def export_lines(bundle: Bundle) -> list[str]:
    """Return one line per model and engine that the bundle holds, for people."""
    lines = []
    for artifact in bundle.manifest.artifacts:
        known = artifact.details
        size = f"{bundle.path / artifact.path}: {artifact.size_bytes / 1e6:.1f} MB"
        if artifact.role == "model":
            against = known["parity"]
            same = (
                f"same top-1 as {known['reference']} on {against['top1_agreement']:.1%} of {against['images']} photos"
            )
            lines.append(f"{size}, {same}")
        elif artifact.role == "engine":
            matched = f"{known['matched']} of {known['convolutions']} convolutions {known['wanted']}"
            lines.append(f"{size}, {matched} in the builder's list")
    return lines


def describe_export(bundle: Bundle) -> dict[str, Any]:
    """Return what an exported bundle holds, as JSON values for `vegrt export --json`."""
    shown = [artifact for artifact in bundle.manifest.artifacts if artifact.role in ("model", "engine")]
    files = [{"path": one.path, "variant": one.variant, "size_bytes": one.size_bytes} | one.details for one in shown]
    return {
        "bundle": str(bundle.path),
        "artifacts": json.loads(json.dumps(files)),
        "calibration": bundle.manifest.calibration,
    }
