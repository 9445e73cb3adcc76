"""The distribution of embeddings, estimated on labelled photos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.trust.embeddings import Covariance, Embeddings, Floats, Neighbours, normalized

SHRINKAGE = 0.3  # towards a sphere: few photos say little about single directions; measured in docs/decisions/0038
LARGEST_BYTES = 1 << 20  # of both covariances' axes in trust.json, before base64
MOST_AXES = 64
SPAN_AXES = 192  # three times those that are kept: without a few photos, the largest turn towards these photos and the next axes
MOST_NEIGHBOURS = 3000
EXCESS_SHARE = 0.5  # of the spread of the other distances; by near misses, docs/decisions/0038


def fit_embeddings(
    features: NDArray[np.floating],
    labels: NDArray[np.int_],
    classes: int,
    parts: tuple[int, ...] = (),
    *,
    span: Floats | None = None,
) -> Embeddings:
    """Return the distribution of (N, D) features of photos with (N,) labels.

    classes: K; one without photos has mean 0. parts: the numbers of each layer; empty for one layer. span: (D, M) orthonormal
    axes within which the largest are searched (Rayleigh-Ritz), which is faster; None for all directions.
    """
    numbers = normalized(features, parts)
    mean = numbers.mean(axis=0)
    centred = numbers - mean
    class_means = np.stack(
        [centred[labels == label].mean(axis=0) if (labels == label).any() else 0 * mean for label in range(classes)]
    )
    within, total = _covariance(centred - class_means[labels], span), _covariance(centred, span)
    none_yet = Neighbours(centred[:1] @ total.axes, labels[:1], 1.0)
    alone = Embeddings(mean, class_means, within, total, none_yet, parts or (len(mean),))
    relative = alone.distances(features, labels).relative
    return replace(alone, neighbours=_neighbours(centred @ total.axes, labels, relative))


def _neighbours(points: Floats, labels: NDArray[np.int_], relative: Floats) -> Neighbours:
    """Return (N, R) points to compare with, and the weights of distances to them beside the (N,) relative distances.

    Weighted, the distance from a point to the nearest other one of its class spreads as widely as the relative one, and what it
    exceeds that to another class by EXCESS_SHARE as widely as their sum.
    """
    drawn = np.random.default_rng(0).permutation(len(points))[:MOST_NEIGHBOURS]
    points, labels = points[drawn], labels[drawn]
    lengths = np.einsum("nr,nr->n", points, points)
    distances = lengths[:, None] + lengths - 2 * points @ points.T
    is_own = labels[:, None] == labels
    others = np.where(is_own, np.inf, distances).min(axis=1)
    distances[~is_own | np.eye(len(points), dtype=bool)] = np.inf
    nearest = distances.min(axis=1)
    weight = _weight(relative, nearest)
    with np.errstate(invalid="ignore"):  # where there is neither
        excess, both = nearest - others, relative[drawn] + weight * nearest
    return Neighbours(points, labels, weight, EXCESS_SHARE * _weight(both, excess))


def _weight(reference: Floats, distances: Floats) -> float:
    """Return the weight with which distances spread as widely as the reference; 1 where either does not spread."""
    spread, own = (float(part.std()) if part.size else 0.0 for part in (_finite(reference), _finite(distances)))
    return spread / own if spread > 0 and own > 0 else 1.0


def _finite(numbers: Floats) -> Floats:
    return numbers[np.isfinite(numbers)]


def leading_axes(numbers: Floats) -> Floats:
    """Return the (D, M) axes along which (N, D) normalized features vary most, orthonormal."""
    return _principal(numbers - numbers.mean(axis=0), SPAN_AXES)[1]


def widened(axes: Floats, numbers: Floats) -> Floats:
    """Return (D, M) orthonormal axes, and more, so that they span M' further points (M', D) too: a `span` without these."""
    beyond = numbers.T - axes @ (axes.T @ numbers.T)
    return np.concatenate([axes, np.linalg.qr(beyond)[0]], axis=1)


def _covariance(differences: Floats, span: Floats | None) -> Covariance:
    """Return the shrunken covariance of (N, D) differences, with its largest directions. span: as for `fit_embeddings`."""
    photos, width = differences.shape
    count = min(MOST_AXES, width, photos - 1, max(1, LARGEST_BYTES // (4 * width)))
    if span is None or span.shape[1] >= min(photos, width):
        largest, axes = _principal(differences, count)
    else:
        largest, inside = _principal(differences @ span, count)
        axes = span @ inside
    whole = float(np.einsum("nd,nd->", differences, differences)) / photos
    average = max(whole / width, 1e-12)
    others = width - count
    rest = max(whole - float(largest.sum()), 0.0) / others if others else average
    return Covariance(
        axes,
        (1 - SHRINKAGE) * largest + SHRINKAGE * average,
        (1 - SHRINKAGE) * rest + SHRINKAGE * average,
    )


def _principal(differences: Floats, count: int) -> tuple[Floats, Floats]:
    """Return the `count` largest variances (R,) of (N, D) differences and their directions (D, R); R is at most N and D."""
    photos, width = differences.shape
    is_wide = width > photos
    square = differences @ differences.T if is_wide else differences.T @ differences
    variances, vectors = np.linalg.eigh(square / photos)
    vectors = vectors[:, : -count - 1 : -1]
    directions = differences.T @ vectors if is_wide else vectors
    lengths = np.maximum(np.linalg.norm(directions, axis=0), 1e-12)
    return np.maximum(variances[: -count - 1 : -1], 0), directions / lengths
