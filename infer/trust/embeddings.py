"""The distribution of the embeddings of validation photos, and how far from it a photo is.

Relative Mahalanobis distance: J. Ren et al., A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection, 2021; here to
the mean of the answered class. A covariance is kept by its largest directions, and is equal in all others (M. Tipping, C.
Bishop, Probabilistic Principal Component Analysis, JRSS B 61, 1999), so that a few hundred kilobytes hold it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import FormatError
from vegrt.infer.trust.record import PackedArray, PackedCovariance, PackedEmbeddings, PackedNeighbours

Floats = NDArray[np.float64]


def normalized(embeddings: NDArray[np.floating]) -> Floats:
    """Return (N, D) embeddings with the square root of each number's size, its sign kept, at unit length.

    The numbers behind a ReLU are skewed: their square roots are nearer to a normal distribution, which the distance assumes.
    """
    roots = np.sign(embeddings) * np.sqrt(np.abs(embeddings.astype(np.float64)))
    lengths = np.sqrt(np.einsum("nd,nd->n", roots, roots))
    return np.asarray(roots / np.maximum(lengths, 1e-12)[:, None])


@dataclass(frozen=True, slots=True, eq=False)
class Covariance:
    """A covariance of D numbers: variances (R,) along the columns of axes (D, R), and `rest` in all other directions."""

    axes: Floats
    variances: Floats
    rest: float

    def squared_distances(self, differences: Floats) -> Floats:
        """Return the (N,) squared Mahalanobis lengths of (N, D) differences."""
        projected = differences @ self.axes
        inside = projected * projected
        outside = np.einsum("nd,nd->n", differences, differences) - inside.sum(axis=1)
        return np.asarray(inside @ (1 / self.variances) + outside / self.rest)

    def packed(self) -> PackedCovariance:
        """Return it for trust.json."""
        return PackedCovariance(PackedArray.of(self.axes, "<f2"), PackedArray.of(self.variances, "<f4"), self.rest)

    @classmethod
    def unpacked(cls, packed: PackedCovariance) -> Covariance:
        """Return what trust.json holds. Raises FormatError for arrays that do not fit each other."""
        axes, variances = packed.axes.unpacked(), packed.variances.unpacked()
        if axes.ndim != 2 or variances.shape != axes.shape[1:] or (variances <= 0).any():
            raise FormatError(f"is {variances.shape}; expected {axes.shape[1:]} numbers above 0", "variances")
        return cls(axes, variances, packed.rest)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Photos to compare with. points: (M, R), along the axes of the total covariance. labels: (M,). weight: of a distance."""

    points: Floats
    labels: NDArray[np.intp]
    weight: float

    def squared_distances(self, projected: Floats, answers: NDArray[np.intp]) -> Floats:
        """Return the (N,) squared distances of (N, R) points to the nearest of their answer's class; of any if it has none."""
        lengths = np.einsum("mr,mr->m", self.points, self.points)
        own_lengths = np.einsum("nr,nr->n", projected, projected)
        distances = own_lengths[:, None] + lengths - 2 * projected @ self.points.T
        same = self.labels == answers[:, None]
        same |= ~same.any(axis=1, keepdims=True)
        return np.asarray(np.maximum(np.where(same, distances, np.inf).min(axis=1), 0))

    def packed(self) -> PackedNeighbours:
        """Return it for trust.json."""
        return PackedNeighbours(PackedArray.of(self.points, "<f2"), tuple(self.labels.tolist()), self.weight)

    @classmethod
    def unpacked(cls, packed: PackedNeighbours, classes: int, width: int) -> Neighbours:
        """Return what trust.json holds. width: R. Raises FormatError for arrays that do not fit each other."""
        points, labels = packed.points.unpacked(), np.array(packed.labels, np.intp)
        if points.ndim != 2 or len(points) == 0 or points.shape != (len(labels), width) or labels.max() >= classes:
            raise FormatError(f"is {points.shape}; expected ({len(labels)}, {width})", "embeddings.neighbours.points")
        return cls(points, labels, packed.weight)


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The distribution of embeddings. mean: (D,). class_means: (K, D), from the mean. within, total: covariances."""

    mean: Floats
    class_means: Floats
    within: Covariance
    total: Covariance
    neighbours: Neighbours

    def relative_distances(self, embeddings: NDArray[np.floating], answers: NDArray[np.intp]) -> Floats:
        """Return the (N,) squared distances of (N, D) embeddings to their answer's class, less those to all photos.

        answers: (N,) class indices. High for a photo that is no typical member of the class that it was given.
        """
        centred = normalized(embeddings) - self.mean
        own = self.within.squared_distances(centred - self.class_means[answers])
        return np.asarray(own - self.total.squared_distances(centred))

    def neighbour_distances(self, embeddings: NDArray[np.floating], answers: NDArray[np.intp]) -> Floats:
        """Return the (N,) squared distances of (N, D) embeddings to the nearest photo of their answer's class."""
        centred = normalized(embeddings) - self.mean
        projected = centred @ self.total.axes
        outside = np.einsum("nd,nd->n", centred, centred) - np.einsum("nr,nr->n", projected, projected)
        return np.asarray(self.neighbours.squared_distances(projected, answers) + outside)

    def packed(self, key: str) -> PackedEmbeddings:
        """Return it for trust.json. key: of the candidate that gave the embeddings."""
        mean, class_means = PackedArray.of(self.mean, "<f4"), PackedArray.of(self.class_means, "<f2")
        covariances = self.within.packed(), self.total.packed()
        return PackedEmbeddings(key, mean, class_means, *covariances, self.neighbours.packed())

    @classmethod
    def unpacked(cls, packed: PackedEmbeddings, classes: int) -> Embeddings:
        """Return what trust.json holds. Raises FormatError for arrays that do not fit each other."""
        mean, class_means = packed.mean.unpacked(), packed.class_means.unpacked()
        if mean.ndim != 1 or class_means.shape != (classes, len(mean)):
            raise FormatError(f"is {class_means.shape}; expected ({classes}, {mean.size})", "embeddings.class_means")
        within, total = Covariance.unpacked(packed.within), Covariance.unpacked(packed.total)
        if {len(within.axes), len(total.axes)} != {len(mean)}:
            raise FormatError(f"has {len(within.axes)} rows; expected {len(mean)}", "embeddings.within.axes")
        neighbours = Neighbours.unpacked(packed.neighbours, classes, total.axes.shape[1])
        return cls(mean, class_means, within, total, neighbours)
