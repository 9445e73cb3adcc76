"""Counts by the hour; hours that are old are joined to days, and old days are dropped, so that their number is bounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from vegrt.infer.drift.record import Period
from vegrt.infer.trust.histograms import Binned, Edges

HOURS = 72  # so many of the newest hours with photos stay hours
DAYS = 60  # so many of the newest days with photos are kept
_HOUR_S, _DAY_S = 3600, 86400


def period_of(start: int, photos: Binned, classes: int, edges: Edges) -> Period:
    """Return the counts of N photos of the hour that begins at `start`, in seconds since 1970."""
    return Period(
        start,
        1,
        _counts(photos.labels, classes),
        _counts(photos.confidence, len(edges.confidence) + 1),
        _counts(photos.scores, len(edges.scores) + 1),
        int(photos.unsure.sum()),
    )


def with_photos(periods: Sequence[Period], photos: Binned, time: int, classes: int, edges: Edges) -> list[Period]:
    """Return periods with N photos added to the hour of `time`; to the last one, if the clock has gone back behind it."""
    start = time - time % _HOUR_S
    last = periods[-1] if periods else None
    if last is not None and start <= last.start:
        return [*periods[:-1], joined([last, period_of(last.start, photos, classes, edges)], last.hours)]
    return _bounded([*periods, period_of(start, photos, classes, edges)])


def joined(periods: Sequence[Period], hours: int) -> Period:
    """Return one period with the photos of several, from the start of the first."""
    return Period(
        periods[0].start,
        hours,
        _sums(period.classes for period in periods),
        _sums(period.confidence for period in periods),
        _sums(period.scores for period in periods),
        sum(period.unsure for period in periods),
    )


def _bounded(periods: list[Period]) -> list[Period]:
    """Return the newest hours, and the older ones as days, of which the oldest are dropped."""
    days: list[Period] = []
    for period in periods[:-HOURS]:
        start = period.start - period.start % _DAY_S
        day = joined([Period(start, 24, *_empty(period)), period], 24)
        if days and days[-1].start == start:
            days[-1] = joined([days[-1], period], 24)
        else:
            days.append(day)
    return [*days[-DAYS:], *periods[-HOURS:]]


def _empty(period: Period) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]:
    rows = period.classes, period.confidence, period.scores
    return (0,) * len(rows[0]), (0,) * len(rows[1]), (0,) * len(rows[2]), 0


def _counts(places: np.ndarray, size: int) -> tuple[int, ...]:
    return tuple(np.bincount(places, minlength=size).tolist())


def _sums(rows: Iterable[Sequence[int]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))
