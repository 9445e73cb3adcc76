"""Calibration from observation to decision: observe, derive ranges by every method, let the methods compete.

The first half of the validation photos (every second one) is observed; the other half judges: for each encoding the
method wins whose int8 model agrees most often with the float model, ties to the smaller divergence of the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.calibration.check import check_placement
from vegrt.calibration.encode import Range, insert_qdq
from vegrt.calibration.observe import Batches, Observation, observe
from vegrt.calibration.place import Encoding, place
from vegrt.calibration.ranges import METHODS, Method, tensor_range
from vegrt.errors import ModelError
from vegrt.infer.ort import open_onnxruntime, read_tensors

# Largest weight magnitude. x86 CPUs without VNNI add pairs of u8 x s8 products in 16 bits, which saturates above 64 * 255 * 2;
# with 64 the CPU model gives the same answers on every CPU (docs/decisions/0003).
WEIGHT_LEVELS: dict[Encoding, int] = {"signed": 127, "unsigned": 64}

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)


@dataclass(frozen=True, slots=True)
class Contest:
    """How one method's int8 model did on the judging photos, against the float model.

    agreement: share of equal top-1. kl: mean KL(float || int8) of the class probabilities, in nats.
    """

    method: Method
    encoding: Encoding
    agreement: float
    kl: float


Ranges = dict[str, Range]
Table = dict[tuple[Encoding, Method], Ranges]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was observed, every method's ranges by tensor name, the tournament, and its winner for each encoding."""

    observations: dict[str, Observation]
    ranges: Table
    contests: list[Contest]
    winners: dict[Encoding, Method]

    def quantize(self, model: ir.Model, encoding: Encoding) -> None:
        """Insert the winner's Q/DQ pairs of an encoding into a float32 or float16 `model`, in place."""
        _quantize(model, encoding, self.ranges[encoding, self.winners[encoding]])

    def to_dict(self) -> dict[str, Any]:
        """Return extrema, every method's [low, high] and the winners as JSON values."""
        tensors: dict[str, Any] = {
            name: {"low": seen.low, "high": seen.high} for name, seen in self.observations.items()
        }
        for (encoding, method), ranges in self.ranges.items():
            for name, span in ranges.items():
                tensors[name].setdefault(encoding, {})[method] = [span.low, span.high]
        return {"tensors": tensors, "winners": self.winners}


def calibrate(model: Callable[[], ir.Model], observed: Batches, judging: Batches) -> Calibration:
    """Return the calibration of a float32 graph.

    model: gives a fresh copy of the graph each time. observed, judging: give (N, H, W, 3) uint8 batches, anew each time.
    """
    names = list(dict.fromkeys(name for one in ENCODINGS for name in place(model(), one).activations))
    observations = observe(names, read_tensors(expose(model(), names), names), observed)
    table: Table = {
        (encoding, method): {name: tensor_range(seen, method, encoding) for name, seen in observations.items()}
        for encoding in ENCODINGS
        for method in METHODS
    }
    reference = _outputs(_serialize(model()), judging)
    contests = [
        _contest(model(), encoding, method, ranges, reference, judging) for (encoding, method), ranges in table.items()
    ]
    winners: dict[Encoding, Method] = {
        encoding: min(
            (one for one in contests if one.encoding == encoding), key=lambda one: (-one.agreement, one.kl)
        ).method
        for encoding in ENCODINGS
    }
    return Calibration(observations, table, contests, winners)


def expose(model: ir.Model, names: Iterable[str]) -> bytes:
    """Return the bytes of `model` with the tensors `names` as additional outputs."""
    values = {value.name: value for node in model.graph for value in node.outputs}
    if missing := sorted(set(names) - set(map(str, values))):
        raise ModelError(f"ONNX graph: no tensors {', '.join(missing)} to observe; export it again")
    model.graph.outputs.extend(values[name] for name in names)
    return _serialize(model)


def _quantize(model: ir.Model, encoding: Encoding, ranges: Ranges) -> None:
    insert_qdq(model, place(model, encoding), ranges, encoding, weight_levels=WEIGHT_LEVELS[encoding])
    check_placement(model, encoding)


def _contest(
    model: ir.Model,
    encoding: Encoding,
    method: Method,
    ranges: Ranges,
    reference: NDArray[np.float32],
    judging: Batches,
) -> Contest:
    _quantize(model, encoding, ranges)
    logits = _outputs(_serialize(model), judging)
    agreement = float((logits.argmax(axis=1) == reference.argmax(axis=1)).mean())
    return Contest(method, encoding, agreement, divergence_of(reference, logits))


def divergence_of(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    """Return the mean KL divergence, in nats, from the reference's class probabilities to the candidate's; (N, K) logits."""
    log_p, log_q = _log_softmax(reference), _log_softmax(logits)
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _outputs(model: bytes, batches: Batches) -> NDArray[np.float32]:
    runner = open_onnxruntime(model)
    return np.concatenate([runner.logits(images) for images in batches()])


def _serialize(model: ir.Model) -> bytes:
    data: bytes = ir.to_proto(model).SerializeToString()
    return data
