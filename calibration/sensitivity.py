"""Sensitivity: the cost of each layer alone, in 8 bits while all other layers stay in float."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import onnx_ir as ir

from vegrt.calibration.calibrate import Calibration
from vegrt.calibration.placement import Encoding, quantizable_layers
from vegrt.calibration.scorer import QuantizationScore, Scorer
from vegrt.terminal.progress import track

SENSITIVITY_PHOTOS = 64  # at most: one model is scored for each layer
_SHOWN = ("kl", "sqnr_db", "flips", "agreement")


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The score of the model in which only one layer is 8-bit. layer: the name of its torch module."""

    layer: str
    encoding: Encoding
    score: QuantizationScore

    def to_dict(self) -> dict[str, object]:
        """Return the figures as JSON values."""
        figures = {name: value for name, value in asdict(self.score).items() if name in _SHOWN}
        return {"layer": self.layer, "encoding": self.encoding} | figures


def measure_sensitivity(
    model: ir.Model, calibration: Calibration, encoding: Encoding, scorer: Scorer
) -> list[Sensitivity]:
    """Return every layer's Sensitivity in a float32 graph, with the ranges of the encoding's winner, in the graph's order."""
    layers, ranges = quantizable_layers(model, encoding), calibration.winning_ranges(encoding)
    return [
        Sensitivity(
            layer,
            encoding,
            scorer.score(encoding, ranges, frozenset(layers) - {layer}, photos=SENSITIVITY_PHOTOS),
        )
        for layer in track(layers, f"Sensitivity, {encoding}")
    ]


def most_sensitive_first(rows: Iterable[Sensitivity]) -> list[str]:
    """Return the layers' names, by falling KL divergence of the outputs."""
    return [row.layer for row in sorted(rows, key=lambda row: -row.score.kl)]
