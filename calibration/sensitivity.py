"""Sensitivity: what each layer alone costs, quantized while all the rest stays in float."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import onnx_ir as ir

from vegrt.calibration.calibrate import Calibration, quantize_with
from vegrt.calibration.judge import Judge, QuantizationScore
from vegrt.calibration.place import Encoding, layers
from vegrt.calibration.resume import CalibrationProgress
from vegrt.results.analysis import LayerCost
from vegrt.terminal.progress import track


def measure_sensitivity(
    model: Callable[[], ir.Model],
    calibration: Calibration,
    encoding: Encoding,
    judge: Judge,
    progress: CalibrationProgress,
) -> list[LayerCost]:
    """Return every layer's cost when only that layer is 8-bit, with the ranges of the encoding's winner, in the graph's order.

    model: gives a fresh copy of the float32 graph each time.
    """
    names = layers(model(), encoding)

    def alone(name: str) -> QuantizationScore:
        candidate = model()
        quantize_with(candidate, encoding, calibration.chosen(encoding), frozenset(names) - {name})
        return judge.score(candidate)

    found = []
    for name in track(names, f"Sensitivity, {encoding}"):
        score = progress.step(
            f"sensitivity-{encoding}-{name.replace('/', '_')}", QuantizationScore, partial(alone, name)
        )
        found.append(
            LayerCost(
                layer=name,
                encoding=encoding,
                kl=score.kl,
                sqnr_db=score.sqnr_db,
                flips=score.flips,
                agreement=score.agreement,
            )
        )
    return found


def most_sensitive_first(found: Iterable[LayerCost]) -> list[str]:
    """Return the layers' names, by falling KL divergence of the outputs."""
    return [one.layer for one in sorted(found, key=lambda one: -one.kl)]
