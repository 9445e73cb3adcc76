"""The sample-count curve: scores of the ranges that fewer photos would have given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from vegrt.calibration.calibrate import TOURNAMENT_PHOTOS, Calibration, all_ranges, observe_tensors
from vegrt.calibration.placement import Encoding
from vegrt.calibration.quantize import ENCODINGS
from vegrt.calibration.resume import CalibrationProgress
from vegrt.calibration.scorer import QuantizationScore, Scorer
from vegrt.calibration.settings import CalibrationSettings
from vegrt.calibration.subject import CalibrationSubject

FEWEST = 32


@dataclass(frozen=True, slots=True)
class SampleCountScore:
    """The score of one encoding's winner with ranges from the first `images` photos."""

    images: int
    encoding: Encoding
    score: QuantizationScore

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as flat JSON values."""
        return {"images": self.images, "encoding": self.encoding} | asdict(self.score)


def sample_counts(available: int) -> list[int]:
    """Return 32, 64, 128 ... and the number of all available photos."""
    counts = [FEWEST << doubling for doubling in range(32) if FEWEST << doubling < available]
    return [*counts, available]


def sample_curve(
    subject: CalibrationSubject, calibration: Calibration, settings: CalibrationSettings, scorer: Scorer
) -> Iterator[SampleCountScore]:
    """Yield the scores of all sample counts, with the winning methods and the float layers of `calibration`."""
    for count in sample_counts(len(subject.observed)):
        observations = observe_tensors(subject.model, subject.observed.first(count), CalibrationProgress(None, ""))
        ranges = all_ranges(observations, settings)
        for encoding in ENCODINGS:
            layers = frozenset(calibration.float_layers.get(encoding, ()))
            best_ranges = ranges[encoding, calibration.winners[encoding]]
            score = scorer.score(encoding, best_ranges, layers, photos=TOURNAMENT_PHOTOS)
            yield SampleCountScore(count, encoding, score)
