"""The parity gate: a graph that does not answer like its reference is never written, and the line says where it goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle import Bundle
from vegrt.dataset import Photo
from vegrt.errors import ModelError
from vegrt.export.diverge import first_divergence
from vegrt.infer.parity import Parity, measure_parity
from vegrt.infer.pipeline import batches
from vegrt.infer.runner import Runner

PHOTOS = 200
_BATCH = 16
_SMALL_BATCHES = (1, 2, 7)  # a graph with a baked-in batch size fails at once


@dataclass(frozen=True, slots=True)
class Limits:
    """What a precision allows.

    error: of a logit, as a share of the largest. layer: of a layer's result, as a share of its norm; it only names the layer.
    """

    min_cosine: float
    min_agreement: float
    error: float
    layer: float


FP32 = Limits(0.9999, 1.0, 1e-3, 1e-3)
FP16 = Limits(0.999, 0.98, 5e-2, 2e-2)  # equal but for near ties
BF16 = Limits(0.99, 0.95, 0.2, 0.1)  # 8 bits of mantissa, float16 has 11


@dataclass(frozen=True, slots=True)
class Evidence:
    """The photos that a graph is compared on, decoded. largest: the batch that an engine will take at most."""

    bundle: Bundle
    photos: list[Photo]
    images: NDArray[np.uint8]  # (N, H, W, 3)
    largest: int

    def measure(self, reference: Runner, candidate: Runner) -> Parity:
        """Return the parity over batches of 1, 2, 7 and the largest; photos repeat where they are too few for one of each."""
        count = max(len(self.images), sum(_SMALL_BATCHES) + self.largest)
        order = np.arange(count) % len(self.images)
        cuts = [*np.cumsum(_SMALL_BATCHES), *range(sum(_SMALL_BATCHES) + self.largest, count, self.largest)]
        parity = measure_parity(reference, candidate, (self.images[part] for part in np.split(order, cuts)))
        return replace(parity, images=len(self.images), worst=parity.worst % len(self.images))


def load_evidence(bundle: Bundle, photos: list[Photo], largest: int) -> Evidence:
    """Return the first PHOTOS of the photos as evidence; the caller has seen that they can be read."""
    some = photos[:PHOTOS]
    parts = batches([photo.path for photo in some], bundle.manifest.contract, _BATCH)
    return Evidence(bundle, some, np.concatenate([batch.images for batch in parts]), largest)


def check_parity(subject: str, parity: Parity, limits: Limits, evidence: Evidence, source: bytes) -> Parity:
    """Return the parity of the graph `source`.

    Raises ModelError, naming the worst photo and the first layer that differs from torch on it, when it is beyond the limits.
    """
    near = parity.max_abs_error <= limits.error * max(1.0, parity.max_abs_logit)
    if near and parity.min_cosine >= limits.min_cosine and parity.top1_agreement >= limits.min_agreement:
        return parity
    where = first_divergence(evidence.bundle, source, evidence.images[parity.worst], limits.layer)
    raise ModelError(
        f"{subject}: cosine {parity.min_cosine:.6f}, largest error {parity.max_abs_error:.3g}, top-1 agreement "
        f"{parity.top1_agreement:.2%} with its reference over {parity.images} photos; expected at least {limits.min_cosine}, at "
        f"most {limits.error:.3g} of the largest logit, and {limits.min_agreement:.0%}; worst on "
        f"{evidence.photos[parity.worst].path}; {where}; nothing was written"
    )
