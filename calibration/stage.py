"""The calibration stage: returns the bundle's own calibration where an equal one is there, and calibrates otherwise."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.calibration.graph.quantize import WEIGHT_LEVELS
from vegrt.calibration.key import calibration_key
from vegrt.calibration.ranges.observe import PeakCheck
from vegrt.calibration.resume import open_progress
from vegrt.calibration.saved import FILE, load_calibration
from vegrt.calibration.settings import CalibrationSettings
from vegrt.calibration.subject import CalibrationSubject
from vegrt.calibration.tournament.budget import mix_precision
from vegrt.calibration.tournament.calibrate import Calibration, calibrate, quantized_tensors
from vegrt.calibration.tournament.scorer import Scorer
from vegrt.dataset.photos import Photo
from vegrt.timing import StageTimer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CalibrationOutcome:
    """A calibration, its key, and whether it was taken from the bundle."""

    calibration: Calibration
    key: Mapping[str, Any]
    reused: bool


def run_calibration(
    bundle: Path,
    subject: CalibrationSubject,
    settings: CalibrationSettings,
    *,
    known: Mapping[Photo, NDArray[np.float32]] | None = None,
    check: PeakCheck | None = None,
    timer: StageTimer | None = None,
) -> CalibrationOutcome:
    """Return the calibration of `subject`: the bundle's own if its key is equal, or a new one.

    known: photo -> (K,) logits of the float graph. check: of the observed magnitudes; not run for a calibration of the bundle.
    timer: gets the stages' seconds. An interrupted calibration is resumed from files under `bundle`.
    """
    timer = timer or StageTimer()
    key = calibration_key(subject.model, subject.hashes, subject.contract, settings, WEIGHT_LEVELS)
    progress = open_progress(bundle, key)
    scorer = Scorer(subject.model, subject.held_out, progress, known)
    saved = load_calibration(bundle / FILE, key, quantized_tensors(subject.model))
    calibration = saved or calibrate(
        subject.model, subject.observed, scorer, settings, progress, check=check, timer=timer
    )
    for outlier in calibration.outliers:
        log.info("%s", outlier)
    with timer.stage("float layers"):
        mixed = mix_precision(subject, calibration, settings, scorer)
    return CalibrationOutcome(mixed, key, reused=saved is not None)
