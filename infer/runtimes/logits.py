"""Logits (N, K) to probabilities and best classes, and the distance between two models' logits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (N, K) probabilities, computed in float64."""
    result: NDArray[np.float64] = np.exp(log_softmax(logits))
    return result


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the logarithms of the (N, K) probabilities, computed in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def top_classes(scores: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Return the (N, count) indices of the highest of (N, K) scores, best first; of equal ones the lower index first.

    scores: logits, or what grows with them. Where K is less than `count`, (N, K).
    """
    result: NDArray[np.intp] = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return result


@dataclass(frozen=True, slots=True)
class Parity:
    """The distance of a model's logits from the reference's over the same images.

    max_abs_logit: of the reference, to judge the error by. worst: index of the image that is furthest off, first by top-1, then
    by cosine; -1 without images. flipped: indices of the images with another top-1. widest_flip: the largest distance, in
    logits of the reference, between its own answer and the one given instead, over these images: small for near ties.
    """

    images: int
    max_abs_error: float
    min_cosine: float
    top1_agreement: float
    max_abs_logit: float = 0.0
    worst: int = -1
    flipped: tuple[int, ...] = ()
    widest_flip: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values, without the indices, which say nothing away from the images."""
        return {key: value for key, value in asdict(self).items() if key not in ("worst", "flipped", "widest_flip")}


def cosines(want: NDArray[np.float32], got: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each row of `want` with the same row of `got`, (N, K) logits both; NaN where one is not finite."""
    norms = np.linalg.norm(want, axis=1) * np.linalg.norm(got, axis=1)
    result: NDArray[np.float32] = np.einsum("nk,nk->n", want, got) / np.maximum(norms, 1e-12)
    return result


def compare_logits(want: NDArray[np.float32], got: NDArray[np.float32]) -> Parity:
    """Return how far (N, K) logits are from those of the reference."""
    if not len(want):
        return Parity(0, 0.0, 1.0, 0.0)
    answers = got.argmax(axis=1)
    close, same = cosines(want, got), want.argmax(axis=1) == answers
    gaps = want.max(axis=1) - want[np.arange(len(want)), answers]
    badness = np.where(np.isnan(close), np.inf, 1 - close) + ~same
    error, largest = float(np.abs(want - got).max()), float(np.abs(want).max())
    flipped, widest = tuple(np.flatnonzero(~same).tolist()), float(gaps.max())
    agreement = float(same.mean())
    return Parity(len(want), error, float(np.min(close)), agreement, largest, int(badness.argmax()), flipped, widest)
