"""How the answers to photos spread over classes, calibrated confidences and foreign scores: counts in bins with fixed edges.

The counts of each class are apart, so that a change of the mix of classes is told from a change of the photos themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import FormatError
from vegrt.results.common import Figure, check_length
from vegrt.schema import Count, Share

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Edges:
    """The upper ends of bins, rising; a value at an edge is in the bin below it, and the last bin has no end.

    confidence: of the answer's calibrated probability. scores: of foreign scores less their threshold; one of them is 0.
    """

    confidence: tuple[Share, ...]
    scores: tuple[Figure, ...]

    def __post_init__(self) -> None:
        for place, edges in (("confidence", self.confidence), ("scores", self.scores)):
            if list(edges) != sorted(set(edges)):
                raise FormatError("do not rise", place)
        if 0 not in self.scores:
            raise FormatError("has no 0, from which a photo is foreign", "scores")

    @property
    def foreign(self) -> int:
        """Return the first of the bins of scores whose photos are foreign."""
        return self.scores.index(0) + 1


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """The photos that were answered with one class. label: its index. confidence, scores: photos in each bin. unsure: photos."""

    label: Count
    confidence: tuple[Count, ...]
    scores: tuple[Count, ...]
    unsure: Count


@dataclass(frozen=True, slots=True)
class Reference:
    """How the answers to validation photos spread. classes: those that were answered."""

    edges: Edges
    classes: tuple[ClassCounts, ...]

    def __post_init__(self) -> None:
        check_rows(self.classes, self.edges, "classes")

    def histogram(self, classes: int) -> Histogram:
        """Return the counts. classes: K. Raises FormatError for a class that is not below it."""
        return Histogram.of(self.classes, classes, self.edges)


@dataclass(frozen=True, slots=True, eq=False)
class Binned:
    """The answers to N photos, as places in bins. labels: (N,) answered classes. confidence, scores, unsure: (N,)."""

    labels: NDArray[np.intp]
    confidence: NDArray[np.intp]
    scores: NDArray[np.intp]
    unsure: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self) -> list[tuple[int, int, int, bool]]:
        """Return label, bin of confidence, bin of score, and unsure of each photo: for few photos faster than whole arrays."""
        columns = (self.labels, self.confidence, self.scores, self.unsure)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def part(self, start: int, end: int) -> Binned:
        """Return photos `start` to `end`, the last excluded."""
        rows = slice(start, end)
        return Binned(self.labels[rows], self.confidence[rows], self.scores[rows], self.unsure[rows])


def binned(
    edges: Edges,
    labels: NDArray[np.intp],
    confidence: NDArray[np.float64],
    scores: NDArray[np.float64],
    unsure: NDArray[np.bool_],
) -> Binned:
    """Return the bins of N photos. confidence: calibrated. scores: less the threshold; one that is not a number is foreign."""
    return Binned(labels, np.searchsorted(edges.confidence, confidence), np.searchsorted(edges.scores, scores), unsure)


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Photos of K classes. confidence: (K, B) in bins of confidence. scores: (K, S). unsure: (K,)."""

    confidence: Counts
    scores: Counts
    unsure: Counts

    @classmethod
    def empty(cls, classes: int, edges: Edges) -> Histogram:
        """Return counts of 0. classes: K."""
        shapes = (classes, len(edges.confidence) + 1), (classes, len(edges.scores) + 1), classes
        return cls(*(np.zeros(shape, np.int64) for shape in shapes))

    @classmethod
    def of(cls, rows: Iterable[ClassCounts], classes: int, edges: Edges) -> Histogram:
        """Return the counts of stored rows. classes: K. Raises FormatError for a class that is not below it."""
        result = cls.empty(classes, edges)
        for row in rows:
            if row.label >= classes:
                raise FormatError(f"is {row.label}; expected less than {classes}", "label")
            result.confidence[row.label] = row.confidence
            result.scores[row.label] = row.scores
            result.unsure[row.label] = row.unsure
        return result

    @property
    def by_class(self) -> Counts:
        """Return the (K,) photos that were answered with each class."""
        return np.asarray(self.confidence.sum(axis=1))

    @property
    def photos(self) -> int:
        """Return the number of photos."""
        return int(self.confidence.sum())

    def count(self, photos: Binned) -> None:
        """Add N photos."""
        for label, confidence, score, unsure in photos.rows():
            self.confidence[label, confidence] += 1
            self.scores[label, score] += 1
            self.unsure[label] += unsure

    def add(self, other: Histogram) -> None:
        """Add the photos of another histogram."""
        self.confidence[:] += other.confidence
        self.scores[:] += other.scores
        self.unsure[:] += other.unsure

    def rows(self) -> tuple[ClassCounts, ...]:
        """Return the counts of the classes that were answered, to be stored."""
        return tuple(
            ClassCounts(
                label,
                tuple(self.confidence[label].tolist()),
                tuple(self.scores[label].tolist()),
                int(self.unsure[label]),
            )
            for label in np.flatnonzero(self.by_class).tolist()
        )


def check_rows(rows: Sequence[ClassCounts], edges: Edges, place: str) -> None:
    """Raise FormatError unless rows have the bins of these edges, and every class once."""
    for row in rows:
        check_length(row.confidence, len(edges.confidence) + 1, f"{place}.confidence", "one for each bin")
        check_length(row.scores, len(edges.scores) + 1, f"{place}.scores", "one for each bin")
        if sum(row.confidence) != sum(row.scores) or row.unsure > sum(row.confidence):
            raise FormatError("do not have the same photos in both histograms", place)
    if len({row.label for row in rows}) != len(rows):
        raise FormatError("have a class twice", place)
