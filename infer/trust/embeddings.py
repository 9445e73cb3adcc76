"""The distribution of the features of validation photos, and how far from it a photo is.

The features are the embedding, and the means of the maps before the last downsampling (K. Lee et al., A Simple Unified Framework
for Detecting Out-of-Distribution Samples, NeurIPS 2018): fitting a network to its classes drops from the embedding what does
not tell them apart.

Relative Mahalanobis distance: J. Ren et al., A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection, 2021; here to
the mean of the answered class. A covariance is kept by its largest directions, and is equal in all others (M. Tipping, C.
Bishop, Probabilistic Principal Component Analysis, JRSS B 61, 1999), so that a few hundred kilobytes hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import FormatError
from vegrt.infer.trust.record import PackedArray, PackedCovariance, PackedEmbeddings, PackedNeighbours

Floats = NDArray[np.float64]


def normalized(features: NDArray[np.floating], parts: Sequence[int] = ()) -> Floats:
    """Return (N, D) features with the square root of each number's size, its sign kept, and each part at unit length.

    parts: the numbers of each layer, D in all; empty for one layer. The numbers behind a ReLU are skewed: their square roots are
    nearer to a normal distribution, which the distance assumes.
    """
    roots = np.asarray(np.sign(features) * np.sqrt(np.abs(features.astype(np.float64))))
    for part in np.split(roots, np.cumsum(parts)[:-1], axis=1) if len(parts) > 1 else [roots]:
        part /= np.maximum(np.sqrt(_squares(part)), 1e-12)[:, None]
    return roots


@dataclass(frozen=True, slots=True, eq=False)
class Covariance:
    """A covariance of D numbers: variances (R,) along the columns of axes (D, R), and `rest` in all other directions."""

    axes: Floats
    variances: Floats
    rest: float

    def squared_distances(self, differences: Floats) -> Floats:
        """Return the (N,) squared Mahalanobis lengths of (N, D) differences."""
        return self.squared_lengths(differences @ self.axes, _squares(differences))

    def squared_lengths(self, projected: Floats, squares: Floats) -> Floats:
        """Return the same of (N, R) differences along the axes. squares: (N,) of their Euclidean lengths in all directions."""
        inside = projected * projected
        outside = squares - inside.sum(axis=1)
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
class _Points:
    """Points (M, R) and their (M,) squared lengths."""

    points: Floats
    squares: Floats

    @classmethod
    def of(cls, points: Floats) -> _Points:
        return cls(points, _squares(points))

    def nearest(self, others: Floats) -> Floats:
        """Return the (N,) squared distances of (N, R) points to the nearest of these; rounding may make one negative."""
        return np.asarray((_squares(others)[:, None] + self.squares - 2 * others @ self.points.T).min(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class _Classes:
    """M points of C classes as columns (R, M), ordered by class, times -2, with their (M,) squared lengths.

    labels: (C,). starts: (C,) the first column of each. In float32: every photo needs all columns, and twice the bytes take
    twice the time.
    """

    columns: NDArray[np.float32]
    squares: NDArray[np.float32]
    labels: NDArray[np.intp]
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, points: Floats, labels: NDArray[np.intp]) -> _Classes:
        order = np.argsort(labels, kind="stable")
        names, starts = np.unique(labels[order], return_index=True)
        columns = np.ascontiguousarray(points[order].T, np.float32)
        return cls(-2 * columns, np.einsum("rm,rm->m", columns, columns), names, starts)

    def nearest(self, others: Floats, answers: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Return the (N,) squared distances of (N, R) points to the nearest of the answer's class, of all if it has none.

        And by how much each exceeds the distance to the nearest of another class; 0 where either has no points.
        """
        distances = others.astype(np.float32) @ self.columns
        distances += self.squares
        nearest = np.minimum.reduceat(distances, self.starts, axis=1)  # (N, C)
        is_own = self.labels == answers[:, None]
        own, other = (np.where(rows, nearest, np.inf).min(axis=1) for rows in (is_own, ~is_own))
        known = np.isfinite(own)
        excess = np.subtract(own, other, out=np.zeros(len(own)), where=known & np.isfinite(other))
        return np.maximum(np.where(known, own, other) + _squares(others), 0), excess


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Photos to compare with. points: (M, R), along the axes of the total covariance. labels: (M,).

    weight: of the distance to the nearest of the answer's class. excess_weight: of what it exceeds that to another class by; 0
    where that is unknown.
    """

    points: Floats
    labels: NDArray[np.intp]
    weight: float
    excess_weight: float = 0.0
    _of_class: dict[int, _Points] = field(init=False)
    _all: _Points = field(init=False)
    _classes: _Classes = field(init=False)

    def __post_init__(self) -> None:
        labels = set(self.labels.tolist())
        object.__setattr__(
            self, "_of_class", {label: _Points.of(self.points[self.labels == label]) for label in labels}
        )
        object.__setattr__(self, "_all", _Points.of(self.points))
        object.__setattr__(self, "_classes", _Classes.of(self.points, self.labels))

    def squared_distances(self, projected: Floats, answers: NDArray[np.intp]) -> Floats:
        """Return the (N,) squared distances of (N, R) points to the nearest of their answer's class; of any if it has none."""
        result = np.empty(len(answers))
        for label in set(answers.tolist()):
            rows = answers == label
            result[rows] = self._of_class.get(label, self._all).nearest(projected[rows])
        return np.maximum(result, 0)

    def nearest_and_excess(self, projected: Floats, answers: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Return the same in float32, and what they exceed those to the nearest of another class by; 0 without one."""
        return self._classes.nearest(projected, answers)

    def packed(self) -> PackedNeighbours:
        """Return it for trust.json."""
        points = PackedArray.of(self.points, "<f2")
        return PackedNeighbours(points, tuple(self.labels.tolist()), self.weight, self.excess_weight or None)

    @classmethod
    def unpacked(cls, packed: PackedNeighbours, classes: int, width: int) -> Neighbours:
        """Return what trust.json holds. width: R. Raises FormatError for arrays that do not fit each other."""
        points, labels = packed.points.unpacked(), np.array(packed.labels, np.intp)
        if points.ndim != 2 or len(points) == 0 or points.shape != (len(labels), width) or labels.max() >= classes:
            raise FormatError(f"is {points.shape}; expected ({len(labels)}, {width})", "embeddings.neighbours.points")
        return cls(points, labels, packed.weight, packed.excess_weight or 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """Squared distances of N embeddings, (N,) each, by their answers.

    relative: to the answer's class, less those to all photos; high for a photo that is no typical member of the class that it was
    given. nearest: to the nearest photo of the answer's class. excess: what `nearest` exceeds that to another class by, negative
    where the answer's class is nearer; None where it was not asked for.
    """

    relative: Floats
    nearest: Floats
    excess: Floats | None


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The distribution of features. mean: (D,). class_means: (K, D), from the mean. within, total: covariances.

    parts: the numbers of each layer: of the embedding, and of the intermediate layer if it counts.
    """

    mean: Floats
    class_means: Floats
    within: Covariance
    total: Covariance
    neighbours: Neighbours
    parts: tuple[int, ...]

    def distances(
        self, features: NDArray[np.floating], answers: NDArray[np.intp], *, with_excess: bool = False
    ) -> Distances:
        """Return the distances of (N, D) features with (N,) answered classes, which share most of their work."""
        centred = normalized(features, self.parts) - self.mean
        projected, squares = centred @ self.total.axes, _squares(centred)
        own = self.within.squared_distances(centred - self.class_means[answers])
        excess: Floats | None = None
        if with_excess:
            nearest, excess = self.neighbours.nearest_and_excess(projected, answers)
        else:
            nearest = self.neighbours.squared_distances(projected, answers)
        relative = np.asarray(own - self.total.squared_lengths(projected, squares))
        return Distances(relative, nearest + squares - _squares(projected), excess)

    def packed(self, key: str) -> PackedEmbeddings:
        """Return it for trust.json. key: of the candidate that gave the embeddings."""
        mean, class_means = PackedArray.of(self.mean, "<f4"), PackedArray.of(self.class_means, "<f2")
        covariances = self.within.packed(), self.total.packed()
        parts = self.parts if len(self.parts) > 1 else None
        return PackedEmbeddings(key, mean, class_means, *covariances, self.neighbours.packed(), parts=parts)

    @classmethod
    def unpacked(cls, packed: PackedEmbeddings, classes: int) -> Embeddings:
        """Return what trust.json holds. Raises FormatError for arrays that do not fit each other."""
        mean, class_means = packed.mean.unpacked(), packed.class_means.unpacked()
        if mean.ndim != 1 or class_means.shape != (classes, len(mean)):
            raise FormatError(f"is {class_means.shape}; expected ({classes}, {mean.size})", "embeddings.class_means")
        within, total = Covariance.unpacked(packed.within), Covariance.unpacked(packed.total)
        if {len(within.axes), len(total.axes)} != {len(mean)}:
            raise FormatError(f"has {len(within.axes)} rows; expected {len(mean)}", "embeddings.within.axes")
        parts = packed.parts or (len(mean),)
        if sum(parts) != len(mean):
            raise FormatError(f"are {sum(parts)} numbers in all; expected {len(mean)}", "embeddings.parts")
        neighbours = Neighbours.unpacked(packed.neighbours, classes, total.axes.shape[1])
        return cls(mean, class_means, within, total, neighbours, parts)


def _squares(rows: Floats) -> Floats:
    """Return the (N,) squared Euclidean lengths of (N, D) rows."""
    return np.asarray(np.einsum("nd,nd->n", rows, rows))
