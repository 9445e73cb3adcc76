"""The export stage: a trained bundle gains its ONNX variants, calibration, golden images and, when asked, engines."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.bundle import Artifact, Bundle, Staging, changing, open_bundle
from vegrt.calibration.calibrate import WEIGHT_LEVELS, Calibration, calibrate
from vegrt.calibration.photos import calibration_photos
from vegrt.dataset import Photo, content_hash
from vegrt.export.engines import add_engines
from vegrt.export.fp16 import to_fp16
from vegrt.export.golden import add_golden
from vegrt.export.model import Parity, check_parity, measure_parity, serialize
from vegrt.export.source import Source, load_source
from vegrt.files import sha256_of_json, write_json
from vegrt.infer.open import FLOAT16_VARIANTS
from vegrt.infer.ort import open_onnxruntime
from vegrt.infer.pipeline import batches
from vegrt.infer.results import versions
from vegrt.preprocess import Contract
from vegrt.progress import track

BATCH = 16
PARITY_PHOTOS = 200
OBSERVED_PHOTOS = 512  # at most: ranges do not move any more, and export should take minutes
JUDGING_PHOTOS = 256
_TOOLS = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu")


def export(path: Path, data: Path, *, engines: bool | None = None, near_test: Collection[str] = ()) -> Bundle:
    """Write fp32, fp16, int8 and int8-cpu ONNX models into the bundle at `path` and return it.

    data: its validation split calibrates and checks parity. engines: True builds TensorRT engines or says why it cannot; None
    builds them where a TensorRT module is usable. near_test: validation photos that do not calibrate, see calibration_photos.
    Raises ModelError when a model is not what its reference is; the bundle is then as it was.
    """
    bundle = open_bundle(path)
    contract = bundle.manifest.contract
    photos = calibration_photos(data, bundle.manifest.classes, contract, near_test=near_test)
    origin = load_source(bundle)
    fp32 = origin.graph
    source = serialize(fp32)
    parity = {"fp32": _check_fp32(origin, source, photos, contract)}
    calibration = _calibrate(fp32, photos, contract)
    models = {"fp32": source} | _variants(fp32, calibration)
    parity |= _check_variants(models, photos, contract)
    with changing(path) as staging:
        _add_models(staging, models, parity, origin.name)
        _add_calibration(staging, calibration)
        add_golden(staging, photos, contract, open_onnxruntime(source))
        add_engines(staging, models, required=engines)
        provenance = _provenance(calibration, photos, source, bundle)
        manifest = replace(bundle.manifest, artifacts=_before_export(bundle), calibration=provenance)
        staging.finish(replace(manifest, tools=manifest.tools | versions(_TOOLS)))
    return open_bundle(path)


def _before_export(bundle: Bundle) -> tuple[Artifact, ...]:
    """Return what the export starts from: engines and models of an earlier one must not stand beside new ones."""
    return tuple(artifact for artifact in bundle.manifest.artifacts if artifact.role in ("weights", "source"))


def _images(photos: list[Photo], contract: Contract, what: str) -> Callable[[], Iterator[NDArray[np.uint8]]]:
    """Return a function that gives the photos as uint8 batches, decoding them anew at each call."""
    paths = [photo.path for photo in photos]

    def read() -> Iterator[NDArray[np.uint8]]:
        for batch in track(batches(paths, contract, BATCH), what, -(-len(paths) // BATCH)):
            yield batch.images

    return read


def _check_fp32(origin: Source, source: bytes, photos: list[Photo], contract: Contract) -> Parity:
    some = _images(photos[:PARITY_PHOTOS], contract, f"Parity with {origin.name}")()
    images = (part for batch in some for part in _odd_parts(batch))
    parity = measure_parity(origin.reference, open_onnxruntime(source), images)
    check_parity("fp32.onnx", parity, min_cosine=0.9999, min_agreement=1.0)
    return parity


def _odd_parts(images: NDArray[np.uint8]) -> Iterable[NDArray[np.uint8]]:
    """Split a batch into 1, 2, 7 and the rest: a graph with a baked-in batch size fails at once."""
    return (part for part in np.split(images, [1, 3, 10]) if len(part))


def _calibrate(fp32: ir.Model, photos: list[Photo], contract: Contract) -> Calibration:
    observed, judging = halves(photos)
    return calibrate(
        lambda: copy_of(fp32), _images(observed, contract, "Calibrating"), _images(judging, contract, "Judging")
    )


def halves(photos: list[Photo]) -> tuple[list[Photo], list[Photo]]:
    """Return the photos to observe and those that judge: every second one each, as many as are of use."""
    return photos[0::2][:OBSERVED_PHOTOS], photos[1::2][:JUDGING_PHOTOS]


def copy_of(model: ir.Model) -> ir.Model:
    """Return an independent copy of a graph."""
    return ir.from_proto(copy.deepcopy(ir.to_proto(model)))


def _variants(fp32: ir.Model, calibration: Calibration) -> dict[str, bytes]:
    fp16, cpu = copy_of(fp32), copy_of(fp32)
    to_fp16(fp16)
    int8 = copy_of(fp16)  # what is not 8-bit stays float16 for TensorRT
    calibration.quantize(int8, "signed")
    calibration.quantize(cpu, "unsigned")
    return {"fp16": serialize(fp16), "int8": serialize(int8), "int8-cpu": serialize(cpu)}


def _check_variants(models: dict[str, bytes], photos: list[Photo], contract: Contract) -> dict[str, Parity]:
    """Compare with fp32. fp16 has to be equal but for near ties; int8 is judged by `vegrt evaluate`, here only measured."""
    some = photos[:PARITY_PHOTOS]
    reference = open_onnxruntime(models["fp32"])
    parity: dict[str, Parity] = {}
    for variant in ("fp16", "int8", "int8-cpu"):
        runner = open_onnxruntime(models[variant], float16=variant in FLOAT16_VARIANTS)
        parity[variant] = measure_parity(reference, runner, _images(some, contract, f"Parity of {variant}")())
    check_parity("fp16.onnx", parity["fp16"], min_cosine=0.999, min_agreement=0.98)
    return parity


def _add_models(staging: Staging, models: dict[str, bytes], parity: dict[str, Parity], origin: str) -> None:
    for variant, data in models.items():
        staging.file(f"{variant}.onnx").write_bytes(data)
        details = {"parity": parity[variant].to_dict(), "reference": origin if variant == "fp32" else "fp32"}
        staging.add(f"{variant}.onnx", "model", variant, details)


def _add_calibration(staging: Staging, calibration: Calibration) -> None:
    write_json(staging.file("calibration.json"), calibration.to_dict())
    staging.add("calibration.json", "calibration")


def _provenance(calibration: Calibration, photos: list[Photo], source: bytes, bundle: Bundle) -> dict[str, Any]:
    hashes = sorted(content_hash(photo.path) for photo in photos)
    key = {
        "graph": hashlib.sha256(source).hexdigest(),
        "photos": sha256_of_json(hashes),
        "contract": bundle.manifest.contract.to_dict(),
        "weight_levels": WEIGHT_LEVELS,
        "tools": versions(_TOOLS),
    }
    return {
        "key": sha256_of_json(key),
        "method": dict(calibration.winners),
        "images": len(halves(photos)[0]),
        "judged_images": len(halves(photos)[1]),
        "photos_sha256": key["photos"],
        "weight_levels": WEIGHT_LEVELS,
        "tournament": [asdict(one) for one in calibration.contests],
    }


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
