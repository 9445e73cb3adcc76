"""The distribution of embeddings, estimated on labelled photos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.trust.embeddings import Covariance, Embeddings, Floats, Neighbours, normalized

SHRINKAGE = 0.3  # towards a sphere: few photos say little about single directions; measured in docs/decisions/0038
LARGEST_BYTES = 1 << 20  # of both covariances' axes in trust.json, before base64
MOST_AXES = 64
MOST_NEIGHBOURS = 2000


def fit_embeddings(embeddings: NDArray[np.floating], labels: NDArray[np.int_], classes: int) -> Embeddings:
    """Return the distribution of (N, D) embeddings of photos with (N,) labels. classes: K; one without photos has mean 0."""
    numbers = normalized(embeddings)
    mean = numbers.mean(axis=0)
    centred = numbers - mean
    class_means = np.stack(
        [centred[labels == label].mean(axis=0) if (labels == label).any() else 0 * mean for label in range(classes)]
    )
    within, total = _covariance(centred - class_means[labels]), _covariance(centred)
    alone = Embeddings(mean, class_means, within, total, Neighbours(centred[:1] @ total.axes, labels[:1], 1.0))
    spread = float(alone.relative_distances(embeddings, labels).std())
    return replace(alone, neighbours=_neighbours(centred @ total.axes, labels, spread))


def _neighbours(points: Floats, labels: NDArray[np.int_], spread: float) -> Neighbours:
    """Return (N, R) points to compare with, the weight so that their distances spread as widely as the relative ones do.

    The distances are those from each point to the nearest other one of its class.
    """
    drawn = np.random.default_rng(0).permutation(len(points))[:MOST_NEIGHBOURS]
    points, labels = points[drawn], labels[drawn]
    lengths = np.einsum("nr,nr->n", points, points)
    distances = lengths[:, None] + lengths - 2 * points @ points.T
    distances[(labels[:, None] != labels) | np.eye(len(points), dtype=bool)] = np.inf
    nearest = distances.min(axis=1)
    typical = float(nearest[np.isfinite(nearest)].std()) if np.isfinite(nearest).any() else 0.0
    return Neighbours(points, labels, spread / typical if spread > 0 and typical > 0 else 1.0)


def _covariance(differences: Floats) -> Covariance:
    """Return the shrunken covariance of (N, D) differences, with its largest directions."""
    photos, width = differences.shape
    count = min(MOST_AXES, width, photos - 1, max(1, LARGEST_BYTES // (4 * width)))
    variances, directions = _principal(differences)
    average = max(float(variances.sum()) / width, 1e-12)
    largest = variances[:count]
    others = width - count
    rest = (float(variances.sum()) - float(largest.sum())) / others if others else average
    return Covariance(
        directions[:, :count],
        (1 - SHRINKAGE) * largest + SHRINKAGE * average,
        (1 - SHRINKAGE) * rest + SHRINKAGE * average,
    )


def _principal(differences: Floats) -> tuple[Floats, Floats]:
    """Return the variances (R,) of (N, D) differences, largest first, and their directions (D, R), R = min(N, D)."""
    photos, width = differences.shape
    if width <= photos:
        variances, directions = np.linalg.eigh(differences.T @ differences / photos)
        return np.maximum(variances[::-1], 0), directions[:, ::-1]
    variances, weights = np.linalg.eigh(differences @ differences.T / photos)
    directions = differences.T @ weights[:, ::-1]
    return np.maximum(variances[::-1], 0), directions / np.maximum(np.linalg.norm(directions, axis=0), 1e-12)
