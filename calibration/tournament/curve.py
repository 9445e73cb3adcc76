"""The sample-count curve: scores of the ranges that fewer photos would have given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from vegrt.calibration.graph.quantize import ENCODINGS
from vegrt.calibration.resume import CalibrationProgress
from vegrt.calibration.settings import CalibrationSettings
from vegrt.calibration.subject import CalibrationSubject
from vegrt.calibration.tournament.calibrate import Calibration, all_ranges, observe_tensors
from vegrt.calibration.tournament.race import TOURNAMENT_PHOTOS
from vegrt.calibration.tournament.scorer import Scorer
from vegrt.results.analysis import CurvePoint

FEWEST = 32


def sample_counts(available: int) -> list[int]:
    """Return 32, 64, 128 ... and the number of all available photos."""
    counts = [FEWEST << doubling for doubling in range(32) if FEWEST << doubling < available]
    return [*counts, available]


def sample_curve(
    subject: CalibrationSubject, calibration: Calibration, settings: CalibrationSettings, scorer: Scorer
) -> Iterator[CurvePoint]:
    """Yield the points of all sample counts, with the winning methods and the float layers of `calibration`."""
    for count in sample_counts(len(subject.observed)):
        observations = observe_tensors(subject.model, subject.observed.first(count), CalibrationProgress(None, ""))
        ranges = all_ranges(observations, settings)
        for encoding in ENCODINGS:
            layers = frozenset(calibration.float_layers.get(encoding, ()))
            best_ranges = ranges[encoding, calibration.winners[encoding]]
            score = scorer.score(encoding, best_ranges, layers, photos=TOURNAMENT_PHOTOS)
            yield CurvePoint(images=count, encoding=encoding, **asdict(score))
