"""Calibration: observe activations, derive ranges by every method, and choose the method by a tournament.

Half of the photos are observed; the other half is held out. For each encoding the method wins whose int8 model agrees most often
with the float model on held-out photos (see race.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from vegrt.calibration.graph.encode import Range
from vegrt.calibration.graph.placement import Encoding, plan_quantization
from vegrt.calibration.graph.quantize import ENCODINGS, Ranges, quantize_graph
from vegrt.calibration.pixels import PhotoSet
from vegrt.calibration.ranges.activations import memory_for_activations, open_network
from vegrt.calibration.ranges.methods import METHODS, Method, tensor_range
from vegrt.calibration.ranges.observe import Observation, PeakCheck, observe
from vegrt.calibration.ranges.outliers import Outlier, find_outliers
from vegrt.calibration.resume import CalibrationProgress
from vegrt.calibration.settings import CalibrationSettings
from vegrt.calibration.tournament.race import MethodScore, best_method, judge_all, race
from vegrt.calibration.tournament.scorer import QuantizationScore, Scorer
from vegrt.timing import StageTimer

RangeTable = Mapping[tuple[Encoding, Method], Ranges]


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
    *,
    check: PeakCheck | None = None,
    timer: StageTimer | None = None,
) -> Calibration:
    """Return the calibration of a float32 graph, without layers in float.

    scorer: of the same graph, on the held-out photos. progress: saved state of an interrupted calibration. check: of the observed
    magnitudes, before the tournament. timer: gets the stages' seconds.
    """
    settings, progress = settings or CalibrationSettings(), progress or CalibrationProgress(None, "")
    timer = timer or StageTimer()
    with timer.stage("observation"):
        observations = observe_tensors(model, observed, progress, check)
    with timer.stage("ranges"):
        table = all_ranges(observations, settings)
    judge = race if settings.racing else judge_all
    with timer.stage("tournament"):
        scores = {
            encoding: judge(encoding, {method: table[encoding, method] for method in METHODS}, scorer)
            for encoding in ENCODINGS
        }
    return Calibration(
        extrema={name: Range(observation.low, observation.high) for name, observation in observations.items()},
        ranges=table,
        tournament=[row for rows in scores.values() for row in rows],
        winners={encoding: best_method(rows) for encoding, rows in scores.items()},
        outliers=tuple(find_outliers(observations, plan_quantization(model, "signed"))),
    )


def observe_tensors(
    model: ir.Model, photos: PhotoSet, progress: CalibrationProgress, check: PeakCheck | None = None
) -> dict[str, Observation]:
    """Return an Observation of every tensor that any encoding quantizes. Arguments as of `observe`."""
    network = open_network(model, quantized_tensors(model))
    return observe(network, photos, progress, check=check, store_bytes=memory_for_activations())


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
