"""Calibration: observe activations, derive ranges by every method, and choose the method by a tournament.

Half of the photos are observed; the other half is held out. For each encoding the method wins whose int8 model agrees most often
with the float model on held-out photos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import onnx_ir as ir

from vegrt.calibration.graph.encode import Range
from vegrt.calibration.graph.onnx_graph import copy_graph, expose_tensors
from vegrt.calibration.graph.placement import Encoding, plan_quantization
from vegrt.calibration.graph.quantize import ENCODINGS, Ranges, quantize_graph
from vegrt.calibration.pixels import PhotoSet
from vegrt.calibration.ranges.methods import METHODS, Method, tensor_range
from vegrt.calibration.ranges.observe import Observation, observe
from vegrt.calibration.ranges.outliers import Outlier, find_outliers
from vegrt.calibration.resume import CalibrationProgress
from vegrt.calibration.settings import CalibrationSettings
from vegrt.calibration.tournament.scorer import QuantizationScore, Scorer
from vegrt.infer.runtimes.onnxruntime.session import read_tensors

TOURNAMENT_PHOTOS = 256  # at most: eight models are scored on them

RangeTable = Mapping[tuple[Encoding, Method], Ranges]


@dataclass(frozen=True, slots=True)
class MethodScore:
    """The score of one method's int8 model on the held-out photos."""

    method: Method
    encoding: Encoding
    score: QuantizationScore

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as flat JSON values."""
        return {"method": self.method, "encoding": self.encoding} | asdict(self.score)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Every tensor's extrema, every method's ranges, the tournament, and its winner for each encoding.

    float_layers: by encoding, the layers that stay in float. scores: by encoding, the winner's score with these layers in float
    on all held-out photos; empty without a budget.
    """

    extrema: Ranges
    ranges: RangeTable
    tournament: Sequence[MethodScore]
    winners: Mapping[Encoding, Method]
    outliers: Sequence[Outlier] = ()
    float_layers: Mapping[Encoding, Sequence[str]] = field(default_factory=dict)
    scores: Mapping[Encoding, QuantizationScore] = field(default_factory=dict)

    def winning_ranges(self, encoding: Encoding) -> Ranges:
        """Return the ranges of the encoding's winner."""
        return self.ranges[encoding, self.winners[encoding]]

    def quantize(self, model: ir.Model, encoding: Encoding) -> None:
        """Insert the winner's Q/DQ pairs of an encoding into a float32 or float16 `model`, in place."""
        layers = frozenset(self.float_layers.get(encoding, ()))
        quantize_graph(model, encoding, self.winning_ranges(encoding), layers)


def calibrate(
    model: ir.Model,
    observed: PhotoSet,
    scorer: Scorer,
    settings: CalibrationSettings | None = None,
    progress: CalibrationProgress | None = None,
) -> Calibration:
    """Return the calibration of a float32 graph, without layers in float.

    scorer: of the same graph, on the held-out photos. progress: saved state of an interrupted calibration.
    """
    settings, progress = settings or CalibrationSettings(), progress or CalibrationProgress(None, "")
    observations = observe_tensors(model, observed, progress)
    table = all_ranges(observations, settings)
    scores = [
        MethodScore(method, encoding, scorer.score(encoding, ranges, photos=TOURNAMENT_PHOTOS))
        for (encoding, method), ranges in table.items()
    ]
    return Calibration(
        extrema={name: Range(observation.low, observation.high) for name, observation in observations.items()},
        ranges=table,
        tournament=scores,
        winners={encoding: best_method(row for row in scores if row.encoding == encoding) for encoding in ENCODINGS},
        outliers=tuple(find_outliers(observations, plan_quantization(model, "signed"))),
    )


def observe_tensors(model: ir.Model, photos: PhotoSet, progress: CalibrationProgress) -> dict[str, Observation]:
    """Return an Observation of every tensor that any encoding quantizes."""
    names = quantized_tensors(model)
    return observe(names, read_tensors(expose_tensors(copy_graph(model), names), names), photos, progress)


def quantized_tensors(model: ir.Model) -> list[str]:
    """Return the names of the tensors that any encoding quantizes."""
    plans = [plan_quantization(model, encoding) for encoding in ENCODINGS]
    return list(dict.fromkeys(name for plan in plans for name in plan.activations))


def all_ranges(
    observations: Mapping[str, Observation], settings: CalibrationSettings
) -> dict[tuple[Encoding, Method], Ranges]:
    """Return every method's ranges for every encoding."""
    return {
        (encoding, method): {
            name: tensor_range(observation, method, encoding, percentile=settings.percentile)
            for name, observation in observations.items()
        }
        for encoding in ENCODINGS
        for method in METHODS
    }


def best_method(scores: Iterable[MethodScore]) -> Method:
    """Return the method that agrees most often; then by accuracy, then by KL in two digits; ties go to the simplest."""
    return min(scores, key=lambda row: (-row.score.agreement, -row.score.accuracy, float(f"{row.score.kl:.1e}"))).method
