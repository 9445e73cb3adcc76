"""The parity gate: refuses a graph that does not answer like its reference, and names the first layer that differs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.pixels import PhotoSet
from vegrt.dataset.photos import Photo
from vegrt.errors import ModelError
from vegrt.evaluate.diagnose import try_explain
from vegrt.evaluate.statistics import CONFIDENCE
from vegrt.export.onnx.divergence import first_divergence
from vegrt.infer.runtimes.logits import Parity, compare_logits
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.runner import Runner

PHOTOS = 128
_BATCH = 16
_SMALL_BATCHES = (1, 2, 7)  # a graph with a fixed batch size fails at once
_LARGEST_BATCH = 32  # of an engine's profile up to here: ONNX Runtime's memory grows with the batch, on a CPU too
_TIES = 0.99  # replaces a limit of 1 for near ties: two float32 runtimes may answer them differently


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest differences from the reference that a precision allows (docs/decisions/0018).

    min_agreement: share of equal top-1; below it, only near ties, and no more of them than chance explains at this share.
    error: of a logit, as a share of the largest logit; two logits that are closer are a near tie. layer: of a layer's result, as
    a share of its norm; it only serves to name the layer. cure: what a user can do about a larger difference, for the message.
    """

    min_cosine: float
    min_agreement: float
    error: float
    layer: float
    cure: str = ""


FP32 = Limits(0.9999, 1.0, 1e-3, 1e-3)
FP16 = Limits(0.999, 0.98, 5e-2, 2e-2, "export without float16: --no-fp16")  # equal except for near ties
BF16 = Limits(0.99, 0.95, 0.2, 0.1, "export without --bf16")  # 8 bits of mantissa, float16 has 11


@dataclass(frozen=True, slots=True)
class Evidence:
    """The decoded photos on which a graph is compared. largest: the largest batch that is tried."""

    bundle: Bundle
    photos: list[Photo]
    images: NDArray[np.uint8]  # (N, H, W, 3)
    largest: int

    def first(self, count: int) -> Evidence:
        """Return the evidence of the first `count` photos."""
        return replace(self, photos=self.photos[:count], images=self.images[:count])

    def answers(self, reference: Runner) -> NDArray[np.float32]:
        """Return the reference's (N, K) logits for all photos."""
        starts = range(0, len(self.images), _BATCH)
        return np.concatenate([reference.logits(self.images[start : start + _BATCH]) for start in starts])

    def measure(self, reference: Runner | NDArray[np.float32], candidate: Runner) -> Parity:
        """Return the parity over batches of 1, 2, 7 and the largest; photos repeat where they are too few to fill one of each.

        reference: a runner or its logits. A photo counts once: it is flipped if it is flipped in any batch.
        """
        return self.compare(reference, candidate)[0]

    def compare(self, reference: Runner | NDArray[np.float32], candidate: Runner) -> tuple[Parity, NDArray[np.float32]]:
        """Return the parity as `measure` does, and the candidate's (N, K) logits for the photos."""
        expected = reference if isinstance(reference, np.ndarray) else self.answers(reference)
        photos = len(self.images)
        count = max(photos, sum(_SMALL_BATCHES) + self.largest)
        order = np.arange(count) % photos
        cuts = [*np.cumsum(_SMALL_BATCHES), *range(sum(_SMALL_BATCHES) + self.largest, count, self.largest)]
        actual = np.concatenate([candidate.logits(self.images[part]) for part in np.split(order, cuts) if len(part)])
        parity = compare_logits(expected[order], actual)
        flipped = tuple(sorted({index % photos for index in parity.flipped}))
        agreement = 1 - len(flipped) / photos
        parity = replace(parity, images=photos, worst=parity.worst % photos, flipped=flipped, top1_agreement=agreement)
        return parity, actual[:photos]


def load_evidence(bundle: Bundle, photos: PhotoSet, largest: int) -> Evidence:
    """Return the first PHOTOS of the photos as evidence. largest: the largest batch of the engines; 32 at most are tried."""
    used = photos.first(PHOTOS)
    return Evidence(bundle, list(used.photos), used.images(), min(largest, _LARGEST_BATCH))


class Fp32Gate:
    """The gate of float32 graphs, and the logits of the graph that was measured last.

    expected: the reference's (N, K) logits. logits: (N, K), of the graph in ONNX Runtime; they serve as a reference themselves.
    """

    def __init__(self, evidence: Evidence, expected: NDArray[np.float32]) -> None:
        self.logits = expected[:0]
        self._evidence, self._expected = evidence, expected

    def __call__(self, source: bytes) -> Parity:
        """Return the parity of the graph `source`. Raises as check_parity does."""
        parity, self.logits = self._evidence.compare(self._expected, open_onnxruntime(source))
        return check_parity("fp32.onnx", parity, FP32, self._evidence, source)


def check_parity(subject: str, parity: Parity, limits: Limits, evidence: Evidence, source: bytes) -> Parity:
    """Return the parity of the ONNX graph `source` if it is within the limits. source: empty for a file of another format.

    Otherwise raises ModelError, with the worst photo and the first layer that differs from torch on it.
    """
    is_near = parity.max_abs_error <= limits.error * max(1.0, parity.max_abs_logit)
    if is_near and parity.min_cosine >= limits.min_cosine and agrees(parity, limits):
        return parity
    agreeing = parity.images - len(parity.flipped)
    layer = try_explain(lambda: _diverging_layer(evidence, source, parity.worst, limits.layer))
    raise ModelError(
        f"{subject}: cosine {parity.min_cosine:.6f}, largest error {parity.max_abs_error:.3g}, top-1 agreement "
        f"{parity.top1_agreement:.2%} with its reference ({agreeing} of {parity.images} photos); expected at least "
        f"{limits.min_cosine}, at most {limits.error:.3g} of the largest logit ({parity.max_abs_logit:.3g}), and "
        f"{limits.min_agreement:.0%} except for near ties; worst on {evidence.photos[parity.worst].path}"
        f"{f'; {layer}' if layer else ''}; {f'{limits.cure}; ' if limits.cure else ''}nothing was written"
    )


def agrees(parity: Parity, limits: Limits) -> bool:
    """Return whether the top-1 agreement is within the limits.

    An agreement below the smallest allowed one is within them if each flip is a near tie and the upper end of the agreement's
    exact (Clopper-Pearson) interval, one-sided with 95 % confidence, reaches it: one flip of 36 photos does not refute 98 %.
    """
    if parity.top1_agreement >= limits.min_agreement:
        return True
    ties = parity.widest_flip <= limits.error * max(1.0, parity.max_abs_logit)
    agreeing, smallest = parity.images - len(parity.flipped), min(limits.min_agreement, _TIES)
    return ties and binomial_tail(agreeing, parity.images, smallest) >= 1 - CONFIDENCE


def binomial_tail(successes: int, total: int, rate: float) -> float:
    """Return the probability of at most `successes` in `total` trials. Below 5 %, `rate` is above the exact interval."""
    return sum(comb(total, count) * rate**count * (1 - rate) ** (total - count) for count in range(successes + 1))


def _diverging_layer(evidence: Evidence, source: bytes, worst: int, tolerance: float) -> str:
    """Return the first layer that differs from torch, in words; nothing for a graph that was not made from a checkpoint."""
    if not source or not evidence.bundle.has("weights"):
        return ""
    return first_divergence(evidence.bundle, source, evidence.images[worst], tolerance)
