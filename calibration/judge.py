"""The photos that judge: held out from observation, they say what a quantized model costs against the float one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.calibration.observe import Batches
from vegrt.errors import ModelError
from vegrt.infer.runtimes.logits import log_softmax
from vegrt.infer.runtimes.onnxruntime import open_onnxruntime

_SILENT_DB = 200.0  # the SQNR of logits that do not differ at all


@dataclass(frozen=True, slots=True)
class QuantizationScore:
    """What a quantized model answers on the judging photos, beside the float model.

    agreement: share of equal top-1. flips: photos with another top-1. accuracy: share of right answers. drop_points: accuracy
    lost against float, in percentage points. kl: mean KL(float || int8) of the class probabilities, in nats. sqnr_db: signal to
    quantization noise of the logits, 10 log10(sum x^2 / sum (x - y)^2), in dB.
    """

    agreement: float
    flips: int
    accuracy: float
    drop_points: float
    kl: float
    sqnr_db: float


@dataclass(frozen=True, slots=True)
class Labelled:
    """Photos with their class indices, in the order of the batches."""

    batches: Batches
    labels: Sequence[int]


class Judge:
    """Compares models with a float one over the same photos. Raises ModelError for one that answers NaN or infinity."""

    def __init__(self, model: ir.Model, photos: Labelled) -> None:
        self._batches, self._labels = photos.batches, np.asarray(photos.labels)
        self._reference = self._logits(model)
        if len(self._reference) != len(self._labels):
            raise ModelError(f"calibration: {len(self._reference)} of {len(self._labels)} judging photos could be read")

    def __len__(self) -> int:
        return len(self._labels)

    def score(self, model: ir.Model) -> QuantizationScore:
        """Return how a quantized `model` does."""
        logits = self._logits(model)
        said, wanted = logits.argmax(axis=1), self._reference.argmax(axis=1)
        right, reference_right = said == self._labels, wanted == self._labels
        return QuantizationScore(
            agreement=float((said == wanted).mean()),
            flips=int((said != wanted).sum()),
            accuracy=float(right.mean()),
            drop_points=100 * float(reference_right.mean() - right.mean()),
            kl=divergence_of(self._reference, logits),
            sqnr_db=signal_to_noise_db(self._reference, logits),
        )

    def _logits(self, model: ir.Model) -> NDArray[np.float32]:
        runner = open_onnxruntime(serialize(model))
        logits = np.concatenate([runner.logits(images) for images in self._batches()])
        odd = np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist()
        if odd:  # comparisons with NaN are false: it would not show
            raise ModelError(
                f"calibration: the model answers NaN or infinity to {len(odd)} of {len(logits)} held-out photos, first to "
                f"number {odd[0]}; its weights or ranges are damaged: export again, or train again"
            )
        return logits


def divergence_of(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    """Return the mean KL divergence, in nats, from the reference's class probabilities to the candidate's; (N, K) logits."""
    log_p, log_q = log_softmax(reference), log_softmax(logits)
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


def signal_to_noise_db(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    """Return 10 log10(sum x^2 / sum (x - y)^2) of reference x and candidate y, in dB; at most 200."""
    signal = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(reference.astype(np.float64) - logits).sum())
    return min(10 * float(np.log10(max(signal, 1e-300) / noise)), _SILENT_DB) if noise else _SILENT_DB


def serialize(model: ir.Model) -> bytes:
    """Return the bytes of an .onnx file."""
    data: bytes = ir.to_proto(model).SerializeToString()
    return data
