"""Compares the photos of a window with those of validation: what changed, by how much, and how improbable that is by chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.drift.exact import Shares, two_sided
from vegrt.infer.drift.record import Finding, Signal
from vegrt.infer.trust.histograms import Edges, Histogram

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def compare_photos(reference: Histogram, window: Histogram, edges: Edges) -> list[Finding]:
    """Return what was tested of how the photos look, within the answered classes: their mix may be any.

    The share of unsure and of foreign photos, and the share at or below each other edge of both histograms.
    """
    mine, theirs = _hits(reference, edges), _hits(window, edges)
    values = two_sided(Shares(mine, reference.by_class), Shares(theirs, window.by_class))
    expected = [_expected(hits, reference.by_class, window.by_class) for hits in mine]
    shares = theirs.sum(axis=1) / max(1, window.photos)
    return [
        Finding(signal, at, *map(float, figures))
        for (signal, at), *figures in zip(_properties(edges), expected, shares, values, strict=True)
    ]


def compare_classes(reference: Histogram, window: Histogram) -> list[Finding]:
    """Return what was tested of the mix of answered classes: the share of each."""
    mine, theirs = reference.by_class, window.by_class
    totals = np.array([[mine.sum()]]), np.array([[theirs.sum()]])
    first = Shares(mine[:, None], np.broadcast_to(totals[0], (len(mine), 1)))
    values = two_sided(first, Shares(theirs[:, None], np.broadcast_to(totals[1], (len(theirs), 1))))
    shares = (mine / max(1, mine.sum())).tolist(), (theirs / max(1, theirs.sum())).tolist()
    rows = zip(*shares, values.tolist(), strict=True)
    return [Finding("class", label, *figures) for label, figures in enumerate(rows)]


def stability_indices(reference: Histogram, window: Histogram) -> dict[str, float]:
    """Return the population stability index of classes, confidences and foreign scores.

    sum((q - p) ln(q / p)) of the shares p, q in each bin, with half a photo added to every bin. For confidences and scores, p is
    of validation photos with the window's mix of classes. By custom, below 0.1 is no change worth naming, above 0.25 a large one.
    """
    totals, weights = reference.by_class, window.by_class
    return {
        "class": _index(totals.astype(np.float64), weights),
        "confidence": _index(_weighted(reference.confidence, totals, weights), window.confidence.sum(axis=0)),
        "foreign-score": _index(_weighted(reference.scores, totals, weights), window.scores.sum(axis=0)),
    }


def _hits(histogram: Histogram, edges: Edges) -> Counts:
    """Return the (T, K) photos with each property, in the order of `_properties`."""
    foreign = histogram.scores[:, edges.foreign :].sum(axis=1)
    below = [np.cumsum(counts, axis=1)[:, :-1].T for counts in (histogram.confidence, histogram.scores)]
    scores = np.delete(below[1], edges.foreign - 1, axis=0)  # those at or below 0 are those that are not foreign
    return np.concatenate([foreign[None], histogram.unsure[None], below[0], scores])


def _properties(edges: Edges) -> Sequence[tuple[Signal, float | None]]:
    confidence: list[tuple[Signal, float | None]] = [("confidence", edge) for edge in edges.confidence]
    scores: list[tuple[Signal, float | None]] = [("foreign-score", edge) for edge in edges.scores if edge != 0]
    return [("foreign", None), ("unsure", None), *confidence, *scores]


def _expected(hits: Counts, totals: Counts, weights: Counts) -> float:
    """Return the share of reference photos with a property, with the window's mix of those classes that were answered."""
    known = totals > 0
    photos = int(weights[known].sum())
    return float((hits[known] / totals[known]) @ weights[known] / photos) if photos else 0.0


def _weighted(counts: Counts, totals: Counts, weights: Counts) -> Floats:
    """Return (B,) reference photos in each bin, of the window's mix of classes, and as many as there were."""
    known = (totals > 0) & (weights > 0)
    shares = counts[known] / totals[known, None]
    weighted = weights[known] @ shares
    return np.asarray(weighted * (totals.sum() / max(1e-12, float(weighted.sum()))))


def _index(reference: Floats, window: Counts) -> float:
    p, q = reference + 0.5, window + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())
