"""The sample-count curve: how good the ranges of fewer photos would have been."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.calibration.calibrate import ENCODINGS, Calibration, all_ranges, observe_tensors, quantize_with
from vegrt.calibration.judge import Judge
from vegrt.calibration.observe import Batches
from vegrt.calibration.resume import CalibrationProgress
from vegrt.calibration.settings import CalibrationSettings
from vegrt.results.analysis import CurvePoint

FEWEST = 32


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
) -> Iterator[CurvePoint]:
    """Yield the points of all sample counts, with the methods that won and the layers in float of `calibration`."""
    for count in sample_counts(available):
        ranges = all_ranges(observe_tensors(model, _first(observed, count), CalibrationProgress(None, "")), settings)
        for encoding in ENCODINGS:
            candidate = model()
            kept = frozenset(calibration.float_layers.get(encoding, ()))
            quantize_with(candidate, encoding, ranges[encoding, calibration.winners[encoding]], kept)
            yield CurvePoint(images=count, encoding=encoding, **asdict(judge.score(candidate)))


def _first(batches: Batches, count: int) -> Batches:
    def read(skip: int = 0) -> Iterator[NDArray[np.uint8]]:
        left = count - skip
        for images in batches(skip):
            if left <= 0:
                return
            yield images[:left]
            left -= len(images)

    return read
