"""Sensitivity: what each layer alone costs, quantized while all the rest stays in float."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial

import onnx_ir as ir

from vegrt.calibration.calibrate import Calibration, quantize_with
from vegrt.calibration.judge import Judge, QuantizationScore
from vegrt.calibration.place import Encoding, layers
from vegrt.calibration.resume import CalibrationProgress
from vegrt.terminal.progress import track


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One layer, by the name of its torch module, and how the model does when only that layer is 8-bit."""

    layer: str
    encoding: Encoding
    score: QuantizationScore

    def to_dict(self) -> dict[str, object]:
        """Return the figures as JSON values."""
        shown = {
            key: value for key, value in asdict(self.score).items() if key in ("kl", "sqnr_db", "flips", "agreement")
        }
        return {"layer": self.layer, "encoding": self.encoding} | shown


def measure_sensitivity(
    model: Callable[[], ir.Model],
    calibration: Calibration,
    encoding: Encoding,
    judge: Judge,
    progress: CalibrationProgress,
) -> list[Sensitivity]:
    """Return every layer's Sensitivity, with the ranges of the encoding's winner, in the graph's order.

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
        found.append(Sensitivity(name, encoding, score))
    return found


def most_sensitive_first(found: Iterable[Sensitivity]) -> list[str]:
    """Return the layers' names, by falling KL divergence of the outputs."""
    return [one.layer for one in sorted(found, key=lambda one: -one.score.kl)]
