"""Analyses of a calibration for `vegrt calibrate`: each layer's sensitivity, and the scores of ranges from fewer photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.graph.onnx_graph import load_fp32
from vegrt.calibration.graph.quantize import ENCODINGS
from vegrt.calibration.photos import CalibrationPhotos
from vegrt.calibration.resume import finish_progress, open_progress
from vegrt.calibration.saved import FILE, read_calibration
from vegrt.calibration.settings import VARIANTS, CalibrationSettings
from vegrt.calibration.subject import prepare_subject
from vegrt.calibration.tournament.curve import sample_curve
from vegrt.calibration.tournament.race import TOURNAMENT_PHOTOS
from vegrt.calibration.tournament.scorer import Scorer
from vegrt.calibration.tournament.sensitivity import SENSITIVITY_PHOTOS, measure_sensitivity
from vegrt.files.hashing import sha256_of_json
from vegrt.results.analysis import Curve, Sensitivity
from vegrt.results.common import ArtifactRow
from vegrt.results.convert import to_dict
from vegrt.results.files import save_result
from vegrt.results.header import header_fields

_PROGRESS = ".calibrating-layers"


@dataclass(frozen=True, slots=True)
class Analyses:
    """The analyses of a calibration; None for one that was not requested."""

    sensitivity: Sensitivity | None = None
    curve: Curve | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the requested results as JSON values by name."""
        return {result.KIND: to_dict(result) for result in (self.sensitivity, self.curve) if result is not None}


def analyse(
    bundle: Bundle, photos: CalibrationPhotos, settings: CalibrationSettings, *, sensitivity: bool, curve: bool
) -> Analyses:
    """Write results/sensitivity.json and results/curve.json, as far as requested, and return them.

    Changes no model. No other process may work on the bundle meanwhile: hold `exclusive`.
    """
    if not (sensitivity or curve):
        return Analyses()
    model = load_fp32(bundle).model
    calibration = read_calibration(bundle.path / FILE)
    subject = prepare_subject(model, photos.used, bundle.manifest.contract, settings)
    key = {"calibration": bundle.artifact("calibration").sha256, "photos": sha256_of_json(subject.hashes)}
    scorer = Scorer(model, subject.held_out, open_progress(bundle.path, key, _PROGRESS))
    sensitivity_result, curve_result = None, None
    if sensitivity:
        costs = [cost for encoding in ENCODINGS for cost in measure_sensitivity(model, calibration, encoding, scorer)]
        sensitivity_result = Sensitivity(
            **header_fields(bundle, Sensitivity.KIND),
            candidates=_artifact_rows(bundle),
            images=len(subject.held_out.first(SENSITIVITY_PHOTOS)),
            rows=tuple(costs),
        )
        save_result(bundle, Sensitivity.KIND, sensitivity_result)
    if curve:
        curve_result = Curve(
            **header_fields(bundle, Curve.KIND),
            candidates=_artifact_rows(bundle),
            images=len(subject.held_out.first(TOURNAMENT_PHOTOS)),
            rows=tuple(sample_curve(subject, calibration, settings, scorer)),
        )
        save_result(bundle, Curve.KIND, curve_result)
    finish_progress(bundle.path, _PROGRESS)
    return Analyses(sensitivity_result, curve_result)


def _artifact_rows(bundle: Bundle) -> tuple[ArtifactRow, ...]:
    variants = ("fp32", *VARIANTS.values())
    return tuple(
        ArtifactRow(key=variant, artifact_sha256=bundle.artifact("model", variant).sha256) for variant in variants
    )
