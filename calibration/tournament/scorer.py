"""Scores of quantized models against the float model, on photos that were held out from observation."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.calibration.graph.onnx_graph import copy_graph, serialize
from vegrt.calibration.graph.placement import Encoding
from vegrt.calibration.graph.quantize import Ranges, quantize_graph
from vegrt.calibration.pixels import PhotoSet
from vegrt.calibration.resume import CalibrationProgress
from vegrt.errors import ModelError
from vegrt.files.hashing import sha256_of_json
from vegrt.infer.runtimes.logits import log_softmax
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime

_BATCH = 16
_NO_NOISE_DB = 200.0  # the SQNR of logits that do not differ at all


@dataclass(frozen=True, slots=True)
class QuantizationScore:
    """How a quantized model answers the held-out photos, compared with the float model.

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


class Scorer:
    """Scores quantized versions of one float graph, each version once.

    The key of a score is the encoding, the ranges, the float layers and the number of photos. Scores are saved in `progress`, so
    that an interrupted run does not compute them again.
    """

    def __init__(self, model: ir.Model, held_out: PhotoSet, progress: CalibrationProgress | None = None) -> None:
        self._model, self._held_out = model, held_out
        self._progress = progress or CalibrationProgress(None, "")
        self._references: dict[int, NDArray[np.float32]] = {}
        self._scores: dict[str, QuantizationScore] = {}

    def score(
        self,
        encoding: Encoding,
        ranges: Ranges,
        float_layers: frozenset[str] = frozenset(),
        *,
        photos: int | None = None,
    ) -> QuantizationScore:
        """Return the score of the graph that is quantized with these ranges, but for the layers to keep in float.

        photos: how many of the held-out photos are used, the first ones; all by default.
        Raises ModelError when the float or the quantized graph answers NaN or infinity.
        """
        count = min(len(self._held_out), len(self._held_out) if photos is None else photos)
        spans = {name: [span.low, span.high] for name, span in ranges.items()}
        key = sha256_of_json([encoding, spans, sorted(float_layers), count])
        if key not in self._scores:
            self._scores[key] = self._saved_or_computed(key, encoding, ranges, float_layers, count)
        return self._scores[key]

    def _saved_or_computed(
        self, key: str, encoding: Encoding, ranges: Ranges, float_layers: frozenset[str], count: int
    ) -> QuantizationScore:
        name = f"score-{key[:32]}"
        if (saved := self._progress.load_figures(name, QuantizationScore)) is not None:
            return saved
        candidate, photos = copy_graph(self._model), self._held_out.first(count)
        quantize_graph(candidate, encoding, ranges, float_layers)
        score = score_logits(self._reference(photos), held_out_logits(candidate, photos), photos.labels)
        self._progress.save_figures(name, asdict(score))
        return score

    def _reference(self, photos: PhotoSet) -> NDArray[np.float32]:
        if len(photos) not in self._references:
            self._references[len(photos)] = held_out_logits(self._model, photos)
        return self._references[len(photos)]


def held_out_logits(model: ir.Model, photos: PhotoSet) -> NDArray[np.float32]:
    """Return the graph's (N, K) logits for the photos. Raises ModelError when one is NaN or infinity."""
    runner = open_onnxruntime(serialize(model, check=False))
    logits = np.concatenate([runner.logits(images) for images in photos.batches(_BATCH, title="Scoring")])
    bad_rows = np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist()
    if bad_rows:  # comparisons with NaN are false: the score would not show it
        raise ModelError(
            f"calibration: the model answers NaN or infinity to {len(bad_rows)} of {len(logits)} held-out photos, first to "
            f"{photos.photos[bad_rows[0]].path}; its weights or ranges are damaged: export again, or train again"
        )
    return logits


def score_logits(reference: NDArray[np.float32], logits: NDArray[np.float32], labels: list[int]) -> QuantizationScore:
    """Return the score of a candidate's (N, K) logits, given the reference's and the N labels."""
    candidate_top1, reference_top1 = logits.argmax(axis=1), reference.argmax(axis=1)
    candidate_right, reference_right = candidate_top1 == np.asarray(labels), reference_top1 == np.asarray(labels)
    return QuantizationScore(
        agreement=float((candidate_top1 == reference_top1).mean()),
        flips=int((candidate_top1 != reference_top1).sum()),
        accuracy=float(candidate_right.mean()),
        drop_points=100 * float(reference_right.mean() - candidate_right.mean()),
        kl=mean_kl_divergence(reference, logits),
        sqnr_db=signal_to_noise_db(reference, logits),
    )


def mean_kl_divergence(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    """Return the mean KL divergence, in nats, from the reference's class probabilities to the candidate's; (N, K) logits."""
    log_p, log_q = log_softmax(reference), log_softmax(logits)
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


def signal_to_noise_db(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    """Return 10 log10(sum x^2 / sum (x - y)^2) of reference x and candidate y, in dB; at most 200."""
    signal = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(reference.astype(np.float64) - logits).sum())
    return min(10 * float(np.log10(max(signal, 1e-300) / noise)), _NO_NOISE_DB) if noise else _NO_NOISE_DB
