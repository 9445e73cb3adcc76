"""From a float32 graph and photos to the int8 models: who observes, who judges, and what is said of it afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.bundle.change import Staging
from vegrt.calibration.calibrate import WEIGHT_LEVELS
from vegrt.calibration.judge import Labelled
from vegrt.calibration.observe import Batches
from vegrt.calibration.photos import CalibrationPhotos
from vegrt.calibration.saved import FILE, to_json
from vegrt.calibration.settings import VARIANTS, CalibrationSettings, float_layers_json
from vegrt.calibration.stage import CalibrationSubject, Outcome
from vegrt.calibration.work import Work, work_in_8_bits
from vegrt.dataset.photos import Photo, content_hash
from vegrt.export.onnx.fp16 import to_fp16
from vegrt.export.onnx.model import serialize
from vegrt.files.atomic import write_json
from vegrt.files.hashing import sha256_of_json
from vegrt.infer.decode.pipeline import batches
from vegrt.photo.preprocess import Contract
from vegrt.terminal.progress import track

BATCH = 16
OBSERVING_BATCH = 1  # all inner tensors of a batch are in memory at once
TOURNAMENT_PHOTOS = 256  # at most: eight models are judged on them
FEW_PHOTOS = 64  # judge each layer alone
FLOAT_LAYERS = "float-layers.json"


def images(photos: list[Photo], contract: Contract, what: str, batch: int = BATCH) -> Batches:
    """Return a function that gives the photos as uint8 batches, decoding them anew at each call."""

    def read(skip: int = 0) -> Iterator[NDArray[np.uint8]]:
        paths = [photo.path for photo in photos[skip:]]
        for found in track(batches(paths, contract, batch), what, -(-len(paths) // batch)):
            yield found.images

    return read


def copy_of(model: ir.Model) -> ir.Model:
    """Return an independent copy of a graph."""
    return ir.from_proto(ir.to_proto(model))


def subject_of(
    fp32: ir.Model, photos: list[Photo], contract: Contract, settings: CalibrationSettings
) -> CalibrationSubject:
    """Return what calibration needs: every second photo is observed, up to the settings' number, the others judge."""
    observed, held_out = halves(photos, settings)

    def labelled(some: list[Photo], what: str) -> Labelled:
        return Labelled(images(some, contract, what), [photo.label for photo in some])

    return CalibrationSubject(
        model=lambda: copy_of(fp32),
        contract=contract,
        hashes={
            "observed": sorted(content_hash(photo.path) for photo in observed),
            "held out": sorted(content_hash(photo.path) for photo in held_out),
        },
        observed=images(observed, contract, "Calibrating", OBSERVING_BATCH),
        held_out=labelled(held_out, "Judging"),
        tournament=labelled(held_out[:TOURNAMENT_PHOTOS], "Judging"),
        few=labelled(held_out[:FEW_PHOTOS], "Judging"),
    )


def halves(photos: list[Photo], settings: CalibrationSettings) -> tuple[list[Photo], list[Photo]]:
    """Return the photos to observe, every second one but no more than asked for, and those held out: the other half."""
    return photos[0::2][: settings.photos], photos[1::2]


def int8_models(fp32: ir.Model, outcome: Outcome, settings: CalibrationSettings) -> dict[str, bytes]:
    """Return the bytes of `int8` (TensorRT's rules, the rest in the settings' type) and `int8-cpu` (float32 rest)."""
    signed, unsigned = copy_of(fp32), copy_of(fp32)
    if settings.rest == "float16":
        to_fp16(signed)
    outcome.calibration.quantize(signed, "signed")
    outcome.calibration.quantize(unsigned, "unsigned")
    return {VARIANTS["signed"]: serialize(signed), VARIANTS["unsigned"]: serialize(unsigned)}


def add_calibration(staging: Staging, outcome: Outcome) -> None:
    """Stage calibration.json and the list of layers in float."""
    write_json(staging.file(FILE), to_json(outcome.calibration, outcome.key))
    staging.add(FILE, "calibration")
    write_json(staging.file(FLOAT_LAYERS), float_layers_json(outcome.calibration.float_layers))
    staging.add(FLOAT_LAYERS, "calibration", "float-layers")


def provenance(
    fp32: ir.Model, outcome: Outcome, photos: CalibrationPhotos, settings: CalibrationSettings
) -> dict[str, Any]:
    """Return what the manifest says of a calibration, as JSON values."""
    calibration, (observed, held_out) = outcome.calibration, halves(photos.used, settings)
    kept = {VARIANTS[encoding]: list(names) for encoding, names in calibration.float_layers.items()}
    work = work_in_8_bits(fp32, kept)
    return {
        "key": sha256_of_json(dict(outcome.key)),
        "method": dict(calibration.winners),
        "percentile": settings.percentile,
        "images": len(observed),
        "judged_images": len(held_out[:TOURNAMENT_PHOTOS]),
        "left_out_near_test": photos.left_out,
        "photos_sha256": sha256_of_json(outcome.key["photos"]),
        "weight_levels": WEIGHT_LEVELS,
        "tournament": [one.to_dict() for one in calibration.contests],
        "float_layers": kept,
        "int8_macs_share": {variant: one.share for variant, one in work.items()},
        "int8_weight_layers": {variant: one.layers for variant, one in work.items()},
        "weight_layers": max((one.all_layers for one in work.values()), default=0),
        "budget": {"max_drop": settings.max_drop, "max_flips": settings.max_flips, "images": len(held_out)},
        "budget_scores": {VARIANTS[encoding]: asdict(score) for encoding, score in calibration.scores.items()},
        "outliers": [asdict(one) for one in calibration.outliers],
    }


def work_lines(calibration: Mapping[str, Any]) -> list[str]:
    """Return a line for each int8 variant of a manifest's calibration: which part of the network is in 8 bits."""
    layers, total = calibration["int8_weight_layers"], calibration["weight_layers"]
    shares = calibration["int8_macs_share"]
    return [f"{variant}: {Work(share, layers[variant], total)}" for variant, share in shares.items()]
