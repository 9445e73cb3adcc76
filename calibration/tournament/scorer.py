"""Scores of quantized models against the float model, on photos that were held out from observation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.calibration.graph.onnx_graph import copy_graph, serialize
from vegrt.calibration.graph.placement import Encoding
from vegrt.calibration.graph.quantize import Ranges, quantize_graph
from vegrt.calibration.pixels import PhotoSet
from vegrt.calibration.resume import CalibrationProgress
from vegrt.calibration.settings import VARIANTS
from vegrt.dataset.photos import Photo
from vegrt.errors import ModelError
from vegrt.files.hashing import sha256_of_json
from vegrt.infer.runtimes.logits import log_softmax
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.onnxruntime.session import is_faster_in_float
from vegrt.infer.runtimes.runner import Runner

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
    that an interrupted run does not compute them again. known: photo -> (K,) logits of the float graph, where they are known.
    """

    def __init__(
        self,
        model: ir.Model,
        held_out: PhotoSet,
        progress: CalibrationProgress | None = None,
        known: Mapping[Photo, NDArray[np.float32]] | None = None,
    ) -> None:
        self.held_out = held_out
        self._model, self._known = model, dict(known or {})
        self._progress = progress or CalibrationProgress(None, "")
        self._references: dict[int, NDArray[np.float32]] = {}
        self._scores: dict[str, QuantizationScore] = {}
        self._answers: dict[str, NDArray[np.float32]] = {}
        self._last_runner: tuple[str, Runner] | None = None

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
        count = min(len(self.held_out), len(self.held_out) if photos is None else photos)
        key = _key(encoding, ranges, float_layers, count)
        if key not in self._scores:
            self._scores[key] = self._saved_or_computed(key, encoding, ranges, float_layers, count)
        return self._scores[key]

    def _saved_or_computed(
        self, key: str, encoding: Encoding, ranges: Ranges, float_layers: frozenset[str], count: int
    ) -> QuantizationScore:
        name = f"score-{key[:32]}"
        if (saved := self._progress.load_figures(name, QuantizationScore)) is not None:
            return saved
        photos, reference = self.held_out.first(count), self.reference(count)
        logits = runner_logits(self._open(encoding, ranges, float_layers), photos)
        score = score_logits(reference, logits, photos.labels)
        self._progress.save_figures(name, asdict(score))
        return score

    def reference(self, count: int) -> NDArray[np.float32]:
        """Return the float graph's (N, K) logits for the first `count` held-out photos. Raises as `held_out_logits`."""
        if count not in self._references:
            photos = self.held_out.first(count)
            if missing := [photo for photo in photos.photos if photo not in self._known]:
                rows = held_out_logits(self._model, PhotoSet(missing, photos.pixels))
                self._known |= zip(missing, rows, strict=True)
            self._references[count] = np.stack([self._known[photo] for photo in photos.photos])
        return self._references[count]

    def answers(self, encoding: Encoding, ranges: Ranges, photos: PhotoSet, count: int) -> NDArray[np.float32]:
        """Return the quantized graph's (N, K) logits for the first `count` of the photos, at least one.

        Runs only the photos after those of earlier calls, also of an interrupted calibration. Raises as `held_out_logits`.
        """
        order = [str(photo.path) for photo in photos.photos]
        name = f"answers-{sha256_of_json([_key(encoding, ranges, frozenset(), 0), order])[:32]}"
        if name not in self._answers and (saved := self._progress.load(name)[1]):
            self._answers[name] = saved["logits"]
        earlier = self._answers.get(name)
        done = 0 if earlier is None else len(earlier)
        if done < count:
            rest = PhotoSet(photos.photos[done:count], photos.pixels)
            more = runner_logits(self._runner(name, encoding, ranges), rest)
            self._answers[name] = more if earlier is None else np.concatenate([earlier, more])
            self._progress.save(name, count, {"logits": self._answers[name]})
        return self._answers[name][:count]

    def _runner(self, name: str, encoding: Encoding, ranges: Ranges) -> Runner:
        """Return the quantized graph, opened; the last one stays open, because it is often the next one too."""
        if self._last_runner is None or self._last_runner[0] != name:
            self._last_runner = None  # two models of VGG16's size in memory are too many
            self._last_runner = name, self._open(encoding, ranges, frozenset())
        return self._last_runner[1]

    def _open(self, encoding: Encoding, ranges: Ranges, float_layers: frozenset[str]) -> Runner:
        candidate = copy_graph(self._model)
        quantize_graph(candidate, encoding, ranges, float_layers)
        return open_onnxruntime(serialize(candidate, check=False), in_float=is_faster_in_float(VARIANTS[encoding]))


def held_out_logits(model: ir.Model, photos: PhotoSet) -> NDArray[np.float32]:
    """Return the graph's (N, K) logits for the photos. Raises ModelError when one is NaN or infinity."""
    return runner_logits(open_onnxruntime(serialize(model, check=False)), photos)


def runner_logits(runner: Runner, photos: PhotoSet) -> NDArray[np.float32]:
    """Return a runner's (N, K) logits for the photos. Raises ModelError when one is NaN or infinity."""
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
    return float(kl_divergences(reference, logits).mean())


def kl_divergences(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each photo's KL divergence, in nats: (N,) for (N, K) logits."""
    log_p, log_q = log_softmax(reference), log_softmax(logits)
    result: NDArray[np.float64] = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return result


def signal_to_noise_db(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    """Return 10 log10(sum x^2 / sum (x - y)^2) of reference x and candidate y, in dB; at most 200."""
    signal = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(reference.astype(np.float64) - logits).sum())
    return min(10 * float(np.log10(max(signal, 1e-300) / noise)), _NO_NOISE_DB) if noise else _NO_NOISE_DB


def _key(encoding: Encoding, ranges: Ranges, float_layers: frozenset[str], count: int) -> str:
    spans = {name: [span.low, span.high] for name, span in ranges.items()}
    return sha256_of_json([encoding, spans, sorted(float_layers), count])
