"""The calibration stage: a float graph and photos become a calibration, taken from the bundle where an equal one is there."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from vegrt.calibration.budget import fewest_float_layers, within
from vegrt.calibration.calibrate import ENCODINGS, WEIGHT_LEVELS, Calibration, calibrate, quantize_with
from vegrt.calibration.judge import Judge, Labelled, QuantizationScore
from vegrt.calibration.key import calibration_key
from vegrt.calibration.observe import Batches
from vegrt.calibration.place import Encoding, layers
from vegrt.calibration.resume import CalibrationProgress
from vegrt.calibration.saved import FILE, load_calibration
from vegrt.calibration.sensitivity import Sensitivity, measure_sensitivity, most_sensitive_first
from vegrt.calibration.settings import VARIANTS, CalibrationSettings
from vegrt.calibration.work import work_in_8_bits
from vegrt.errors import ModelError
from vegrt.files.hashing import sha256_of_json
from vegrt.photo.preprocess import Contract

PROGRESS = ".calibrating"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CalibrationSubject:
    """What is calibrated, and on which photos.

    model: gives a fresh copy of the float32 graph. hashes: content hashes of the observed and of the held-out photos.
    held_out: judge a budget; tournament: those of them that judge the methods; few: those that judge single layers.
    """

    model: Callable[[], ir.Model]
    contract: Contract
    hashes: Mapping[str, Sequence[str]]
    observed: Batches
    held_out: Labelled
    tournament: Labelled
    few: Labelled


@dataclass(frozen=True, slots=True)
class Outcome:
    """A calibration, its key, and whether it was taken from the bundle."""

    calibration: Calibration
    key: Mapping[str, Any]
    reused: bool


def run_calibration(bundle: Path, subject: CalibrationSubject, settings: CalibrationSettings) -> Outcome:
    """Return the calibration of `subject`: the bundle's own if its key is equal, or a new one.

    An interrupted calibration goes on where it was, from files under `bundle`.
    """
    key = calibration_key(subject.model(), subject.hashes, subject.contract, settings, WEIGHT_LEVELS)
    progress = open_progress(bundle, key)
    found = load_calibration(bundle / FILE, key)
    calibration = found or calibrate(subject.model, subject.observed, subject.tournament, settings, progress)
    for outlier in calibration.outliers:
        log.info("%s", outlier)
    return Outcome(mix_precision(subject, calibration, settings, progress), key, reused=found is not None)


def open_progress(bundle: Path, key: Mapping[str, Any], folder: str = PROGRESS) -> CalibrationProgress:
    """Return where interrupted work with this key was, in a hidden folder of the bundle."""
    return CalibrationProgress(bundle / folder, sha256_of_json(dict(key)))


def mix_precision(
    subject: CalibrationSubject, calibration: Calibration, settings: CalibrationSettings, progress: CalibrationProgress
) -> Calibration:
    """Return the calibration with the settings' layers in float, and as many more as their budget needs."""
    fixed = {encoding: _known(subject, encoding, settings) for encoding in ENCODINGS}
    if not settings.has_budget:
        return replace(calibration, float_layers={one: tuple(sorted(fixed[one])) for one in ENCODINGS})
    judge = Judge(subject.model(), subject.held_out)
    scores: dict[Encoding, QuantizationScore] = {}
    kept: dict[Encoding, tuple[str, ...]] = {}
    for encoding in ENCODINGS:
        search = _Search(subject, calibration, encoding, settings, judge, progress)
        kept[encoding] = search.run(fixed[encoding])
        scores[encoding] = search.score(frozenset(kept[encoding]))
        _report(encoding, kept[encoding], scores[encoding], subject)
    return replace(calibration, float_layers=kept, scores=scores)


def finish_progress(bundle: Path, folder: str = PROGRESS) -> None:
    """Remove what an interruption would have needed."""
    shutil.rmtree(bundle / folder, ignore_errors=True)


def sensitivities(
    subject: CalibrationSubject, calibration: Calibration, encoding: Encoding, progress: CalibrationProgress
) -> list[Sensitivity]:
    """Return what each layer alone costs, on the few photos of a sensitivity."""
    judge = Judge(subject.model(), subject.few)
    return measure_sensitivity(subject.model, calibration, encoding, judge, progress)


@dataclass(frozen=True, slots=True)
class _Search:
    """The search for what stays in float in one encoding."""

    subject: CalibrationSubject
    calibration: Calibration
    encoding: Encoding
    settings: CalibrationSettings
    judge: Judge
    progress: CalibrationProgress

    def run(self, fixed: frozenset[str]) -> tuple[str, ...]:
        """Return the layers in float, sorted: `fixed`, and those that the budget needs."""
        if self._holds(fixed):
            return tuple(sorted(fixed))
        order = most_sensitive_first(sensitivities(self.subject, self.calibration, self.encoding, self.progress))
        return tuple(sorted(fixed | set(fewest_float_layers(order, self._holds, fixed))))

    def score(self, float_layers: frozenset[str]) -> QuantizationScore:
        """Return how the winner does with these layers in float."""

        def judged() -> QuantizationScore:
            model = self.subject.model()
            quantize_with(model, self.encoding, self.calibration.chosen(self.encoding), float_layers)
            return self.judge.score(model)

        name = f"mixed-{self.encoding}-{sha256_of_json(sorted(float_layers))[:16]}"
        return self.progress.step(name, QuantizationScore, judged)

    def _holds(self, float_layers: frozenset[str]) -> bool:
        return within(self.score(float_layers), self.settings)


def _known(subject: CalibrationSubject, encoding: Encoding, settings: CalibrationSettings) -> frozenset[str]:
    """Return the layers that the settings keep in float. Raises ModelError for one that the graph does not have."""
    wanted, able = frozenset(settings.float_layers.get(encoding, ())), layers(subject.model(), encoding)
    if unknown := sorted(wanted - set(able)):
        raise ModelError(
            f"float layers of {VARIANTS[encoding]}: the model has no {', '.join(unknown)}; it has {', '.join(able)}"
        )
    return wanted


def _report(encoding: Encoding, kept: Sequence[str], score: QuantizationScore, subject: CalibrationSubject) -> None:
    names = f"{', '.join(kept)} in float" if kept else "nothing in float"
    work = work_in_8_bits(subject.model(), {encoding: kept})[encoding]
    log.info(
        "%s: %s; drop %.2f points and %d flips on %d photos, %s",
        *(VARIANTS[encoding], names, score.drop_points, score.flips, len(subject.held_out.labels), work),
    )
