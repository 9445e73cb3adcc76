"""Calibration from observation to decision: observe, derive ranges by every method, let the methods compete.

Half of the photos are observed; the other half judges: for each encoding the method wins whose int8 model agrees most often
with the float model. Under a budget the layers that cost most then stay in float until it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import onnx_ir as ir

from vegrt.calibration.check import check_placement
from vegrt.calibration.encode import Range, insert_qdq
from vegrt.calibration.judge import Judge, Labelled, QuantizationScore, serialize
from vegrt.calibration.observe import Batches, Observation, observe
from vegrt.calibration.outliers import Outlier, find_outliers
from vegrt.calibration.place import Encoding, plan_quantization
from vegrt.calibration.ranges import METHODS, Method, tensor_range
from vegrt.calibration.resume import CalibrationProgress
from vegrt.calibration.settings import CalibrationSettings
from vegrt.errors import ModelError
from vegrt.infer.runtimes.onnxruntime import read_tensors

# Largest weight magnitude. x86 CPUs without VNNI add pairs of u8 x s8 products in 16 bits, which saturates above 64 * 255 * 2;
# with 64 the CPU model gives the same answers on every CPU (docs/decisions/0003).
WEIGHT_LEVELS: dict[Encoding, int] = {"signed": 127, "unsigned": 64}

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

Ranges = Mapping[str, Range]
Table = Mapping[tuple[Encoding, Method], Ranges]


@dataclass(frozen=True, slots=True)
class MethodScore:
    """How one method's int8 model did on the judging photos, against the float model."""

    method: Method
    encoding: Encoding
    score: QuantizationScore

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as flat JSON values."""
        return {"method": self.method, "encoding": self.encoding} | asdict(self.score)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Every tensor's extrema, every method's ranges, the tournament, its winner for each encoding, and what stays in float.

    float_layers: by encoding, what stays in float. scores: by encoding, the winner with these on all judging photos, where
    it was judged again.
    """

    extrema: Ranges
    ranges: Table
    contests: Sequence[MethodScore]
    winners: Mapping[Encoding, Method]
    outliers: Sequence[Outlier] = ()
    float_layers: Mapping[Encoding, Sequence[str]] = field(default_factory=dict)
    scores: Mapping[Encoding, QuantizationScore] = field(default_factory=dict)

    def chosen(self, encoding: Encoding) -> Ranges:
        """Return the ranges of the encoding's winner."""
        return self.ranges[encoding, self.winners[encoding]]

    def quantize(self, model: ir.Model, encoding: Encoding) -> None:
        """Insert the winner's Q/DQ pairs of an encoding into a float32 or float16 `model`, in place."""
        quantize_with(model, encoding, self.chosen(encoding), frozenset(self.float_layers.get(encoding, ())))


def calibrate(
    model: Callable[[], ir.Model],
    observed: Batches,
    judging: Labelled,
    settings: CalibrationSettings | None = None,
    progress: CalibrationProgress | None = None,
) -> Calibration:
    """Return the calibration of a float32 graph, with nothing in float yet.

    model: gives a fresh copy of the graph each time. progress: where an interrupted calibration goes on.
    """
    settings, progress = settings or CalibrationSettings(), progress or CalibrationProgress(None, "")
    observations = observe_tensors(model, observed, progress)
    table = all_ranges(observations, settings)
    judge = Judge(model(), judging)
    contests = [
        _contest(model, encoding, method, ranges, judge, progress) for (encoding, method), ranges in table.items()
    ]
    return Calibration(
        extrema={name: Range(seen.low, seen.high) for name, seen in observations.items()},
        ranges=table,
        contests=contests,
        winners={encoding: winner(one for one in contests if one.encoding == encoding) for encoding in ENCODINGS},
        outliers=tuple(find_outliers(observations, plan_quantization(model(), "signed"))),
    )


def observe_tensors(
    model: Callable[[], ir.Model], batches: Batches, progress: CalibrationProgress
) -> dict[str, Observation]:
    """Return an Observation of every tensor that any encoding quantizes."""
    names = list(dict.fromkeys(name for one in ENCODINGS for name in plan_quantization(model(), one).activations))
    return observe(names, read_tensors(expose(model(), names), names), batches, progress)


def all_ranges(
    observations: Mapping[str, Observation], settings: CalibrationSettings
) -> dict[tuple[Encoding, Method], Ranges]:
    """Return every method's ranges for every encoding."""
    return {
        (encoding, method): {
            name: tensor_range(seen, method, encoding, percentile=settings.percentile)
            for name, seen in observations.items()
        }
        for encoding in ENCODINGS
        for method in METHODS
    }


def winner(contests: Iterable[MethodScore]) -> Method:
    """Return the method that agrees most often; then by accuracy, then by KL in two digits; ties go to the simplest."""
    return min(
        contests, key=lambda one: (-one.score.agreement, -one.score.accuracy, float(f"{one.score.kl:.1e}"))
    ).method


def expose(model: ir.Model, names: Iterable[str]) -> bytes:
    """Return the bytes of `model` with the tensors `names` as additional outputs."""
    values = {value.name: value for node in model.graph for value in node.outputs}
    if missing := sorted(set(names) - set(map(str, values))):
        raise ModelError(f"ONNX graph: no tensors {', '.join(missing)} to observe; export it again")
    model.graph.outputs.extend(values[name] for name in names)
    return serialize(model)


def quantize_with(
    model: ir.Model, encoding: Encoding, ranges: Ranges, keep_float: frozenset[str] = frozenset()
) -> None:
    """Insert Q/DQ pairs with these ranges into `model`, in place, but for the layers to keep in float; checked."""
    placement = plan_quantization(model, encoding, keep_float=keep_float)
    insert_qdq(model, placement, ranges, encoding, weight_levels=WEIGHT_LEVELS[encoding])
    check_placement(model, encoding)


def _contest(
    model: Callable[[], ir.Model],
    encoding: Encoding,
    method: Method,
    ranges: Ranges,
    judge: Judge,
    progress: CalibrationProgress,
) -> MethodScore:
    def judged() -> QuantizationScore:
        candidate = model()
        quantize_with(candidate, encoding, ranges)
        return judge.score(candidate)

    return MethodScore(method, encoding, progress.step(f"{encoding}-{method}", QuantizationScore, judged))
