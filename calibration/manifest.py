"""The manifest's entry for a calibration, and its lines of words for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import onnx_ir as ir

from vegrt.calibration.graph.quantize import WEIGHT_LEVELS
from vegrt.calibration.graph.work import Work, work_in_8_bits
from vegrt.calibration.photos import CalibrationPhotos
from vegrt.calibration.settings import VARIANTS, CalibrationSettings
from vegrt.calibration.stage import CalibrationOutcome
from vegrt.calibration.subject import split_photos
from vegrt.calibration.tournament.race import TOURNAMENT_PHOTOS
from vegrt.files.hashing import sha256_of_json


def calibration_entry(
    fp32: ir.Model, outcome: CalibrationOutcome, photos: CalibrationPhotos, settings: CalibrationSettings
) -> dict[str, Any]:
    """Return the manifest's entry for a calibration, as JSON values."""
    calibration, (observed, held_out) = outcome.calibration, split_photos(photos.used, settings)
    float_layers = {VARIANTS[encoding]: list(names) for encoding, names in calibration.float_layers.items()}
    works = work_in_8_bits(fp32, float_layers)
    return {
        "key": sha256_of_json(dict(outcome.key)),
        "method": dict(calibration.winners),
        "percentile": settings.percentile,
        "images": len(observed),
        "judged_images": len(held_out.first(TOURNAMENT_PHOTOS)),
        "left_out_near_test": photos.left_out,
        "photos_sha256": sha256_of_json(outcome.key["photos"]),
        "weight_levels": WEIGHT_LEVELS,
        "tournament": [row.to_dict() for row in calibration.tournament],
        "float_layers": float_layers,
        "int8_macs_share": {variant: work.share for variant, work in works.items()},
        "int8_weight_layers": {variant: work.layers for variant, work in works.items()},
        "weight_layers": max((work.all_layers for work in works.values()), default=0),
        "macs_per_image": max((work.macs_per_image for work in works.values()), default=0),
        "budget": {"max_drop": settings.max_drop, "max_flips": settings.max_flips, "images": len(held_out)},
        "budget_scores": {VARIANTS[encoding]: asdict(score) for encoding, score in calibration.scores.items()},
        "outliers": [asdict(outlier) for outlier in calibration.outliers],
    }


def work_lines(entry: Mapping[str, Any]) -> list[str]:
    """Return a line for each int8 variant of a manifest's calibration entry: which part of the network is in 8 bits."""
    layers, total = entry["int8_weight_layers"], entry["weight_layers"]
    return [f"{variant}: {Work(share, layers[variant], total)}" for variant, share in entry["int8_macs_share"].items()]
