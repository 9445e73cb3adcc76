"""Sensitivity: the cost of each layer alone, in 8 bits while all other layers stay in float."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from vegrt.calibration.graph.placement import Encoding, quantizable_layers
from vegrt.calibration.tournament.calibrate import Calibration
from vegrt.calibration.tournament.scorer import Scorer
from vegrt.results.analysis import LayerCost
from vegrt.terminal.progress import track

SENSITIVITY_PHOTOS = 64  # at most: one model is scored for each layer


def measure_sensitivity(
    model: ir.Model, calibration: Calibration, encoding: Encoding, scorer: Scorer
) -> list[LayerCost]:
    """Return the cost of every layer of a float32 graph, with the ranges of the encoding's winner, in the graph's order."""
    layers, ranges = quantizable_layers(model, encoding), calibration.winning_ranges(encoding)
    costs = []
    for layer in track(layers, f"Sensitivity, {encoding}"):
        score = scorer.score(encoding, ranges, frozenset(layers) - {layer}, photos=SENSITIVITY_PHOTOS)
        figures = {"kl": score.kl, "sqnr_db": score.sqnr_db, "agreement": score.agreement}
        costs.append(LayerCost(layer=layer, encoding=encoding, flips=score.flips, **figures))
    return costs


def most_sensitive_first(costs: Iterable[LayerCost]) -> list[str]:
    """Return the layers' names, by falling KL divergence of the outputs."""
    return [cost.layer for cost in sorted(costs, key=lambda cost: -cost.kl)]
