"""The calibration stage: returns the bundle's own calibration where an equal one is there, and calibrates otherwise."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vegrt.calibration.graph.quantize import WEIGHT_LEVELS
from vegrt.calibration.key import calibration_key
from vegrt.calibration.resume import open_progress
from vegrt.calibration.saved import FILE, load_calibration
from vegrt.calibration.settings import CalibrationSettings
from vegrt.calibration.subject import CalibrationSubject
from vegrt.calibration.tournament.budget import mix_precision
from vegrt.calibration.tournament.calibrate import Calibration, calibrate, quantized_tensors
from vegrt.calibration.tournament.scorer import Scorer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CalibrationOutcome:
    """A calibration, its key, and whether it was taken from the bundle."""

    calibration: Calibration
    key: Mapping[str, Any]
    reused: bool


def run_calibration(bundle: Path, subject: CalibrationSubject, settings: CalibrationSettings) -> CalibrationOutcome:
    """Return the calibration of `subject`: the bundle's own if its key is equal, or a new one.

    An interrupted calibration is resumed from files under `bundle`.
    """
    key = calibration_key(subject.model, subject.hashes, subject.contract, settings, WEIGHT_LEVELS)
    progress = open_progress(bundle, key)
    scorer = Scorer(subject.model, subject.held_out, progress)
    saved = load_calibration(bundle / FILE, key, quantized_tensors(subject.model))
    calibration = saved or calibrate(subject.model, subject.observed, scorer, settings, progress)
    for outlier in calibration.outliers:
        log.info("%s", outlier)
    return CalibrationOutcome(mix_precision(subject, calibration, settings, scorer), key, reused=saved is not None)
