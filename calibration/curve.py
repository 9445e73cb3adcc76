"""The sample-count curve: how good the ranges of fewer photos would have been."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.calibration.calibrate import ENCODINGS, Calibration, all_ranges, observe_tensors, quantize_with
from vegrt.calibration.judge import Judge, QuantizationScore
from vegrt.calibration.observe import Batches
from vegrt.calibration.place import Encoding
from vegrt.calibration.resume import CalibrationProgress
from vegrt.calibration.settings import CalibrationSettings

FEWEST = 32


@dataclass(frozen=True, slots=True)
class Point:
    """The winner's int8 model of one encoding with ranges from the first `images` photos."""

    images: int
    encoding: Encoding
    score: QuantizationScore

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as flat JSON values."""
        return {"images": self.images, "encoding": self.encoding} | asdict(self.score)


def sample_counts(available: int) -> list[int]:
    """Return 32, 64, 128 ... and all that are available."""
    counts = [FEWEST << doubling for doubling in range(32) if FEWEST << doubling < available]
    return [*counts, available]


def sample_curve(
    model: Callable[[], ir.Model],
    observed: Batches,
    available: int,
    calibration: Calibration,
    settings: CalibrationSettings,
    judge: Judge,
) -> Iterator[Point]:
    """Yield the Points of all sample counts, with the methods that won and the layers in float of `calibration`."""
    for count in sample_counts(available):
        ranges = all_ranges(observe_tensors(model, _first(observed, count), CalibrationProgress(None, "")), settings)
        for encoding in ENCODINGS:
            candidate = model()
            kept = frozenset(calibration.float_layers.get(encoding, ()))
            quantize_with(candidate, encoding, ranges[encoding, calibration.winners[encoding]], kept)
            yield Point(count, encoding, judge.score(candidate))


def _first(batches: Batches, count: int) -> Batches:
    def read(skip: int = 0) -> Iterator[NDArray[np.uint8]]:
        left = count - skip
        for images in batches(skip):
            if left <= 0:
                return
            yield images[:left]
            left -= len(images)

    return read
