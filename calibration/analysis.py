"""Analyses of a calibration for `vegrt calibrate`: each layer's sensitivity, and the scores of ranges from fewer photos."""

from __future__ import annotations

from typing import Any

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.calibrate import TOURNAMENT_PHOTOS
from vegrt.calibration.curve import sample_curve
from vegrt.calibration.graph import load_fp32
from vegrt.calibration.photos import CalibrationPhotos
from vegrt.calibration.quantize import ENCODINGS
from vegrt.calibration.resume import finish_progress, open_progress
from vegrt.calibration.saved import FILE, read_calibration
from vegrt.calibration.scorer import Scorer
from vegrt.calibration.sensitivity import SENSITIVITY_PHOTOS, measure_sensitivity
from vegrt.calibration.settings import VARIANTS, CalibrationSettings
from vegrt.calibration.subject import prepare_subject
from vegrt.results.files import save_result

SENSITIVITY, CURVE = "sensitivity", "curve"
_PROGRESS = ".calibrating-layers"


def analyse(
    bundle: Bundle, photos: CalibrationPhotos, settings: CalibrationSettings, *, sensitivity: bool, curve: bool
) -> dict[str, Any]:
    """Write results/sensitivity.json and results/curve.json, as far as requested, and return their bodies by name.

    Changes no model. No other process may work on the bundle meanwhile: hold `exclusive`.
    """
    if not (sensitivity or curve):
        return {}
    model = load_fp32(bundle).model
    calibration = read_calibration(bundle.path / FILE)
    subject = prepare_subject(model, photos.used, bundle.manifest.contract, settings)
    progress = open_progress(bundle.path, {"calibration": bundle.artifact("calibration").sha256}, _PROGRESS)
    scorer = Scorer(model, subject.held_out, progress)
    bodies: dict[str, Any] = {}
    if sensitivity:
        costs = [cost for encoding in ENCODINGS for cost in measure_sensitivity(model, calibration, encoding, scorer)]
        scored = len(subject.held_out.first(SENSITIVITY_PHOTOS))
        bodies[SENSITIVITY] = _body(bundle, scored, [cost.to_dict() for cost in costs])
    if curve:
        points = sample_curve(subject, calibration, settings, scorer)
        scored = len(subject.held_out.first(TOURNAMENT_PHOTOS))
        bodies[CURVE] = _body(bundle, scored, [point.to_dict() for point in points])
    for name, body in bodies.items():
        save_result(bundle, name, body)
    finish_progress(bundle.path, _PROGRESS)
    return bodies


def _body(bundle: Bundle, images: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    variants = ("fp32", *VARIANTS.values())
    candidates = [{"key": name, "artifact_sha256": bundle.artifact("model", name).sha256} for name in variants]
    return {"candidates": candidates, "images": images, "rows": rows}
