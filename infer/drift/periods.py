"""Counts by the hour; hours that are old are joined to days, and old days are dropped, so that their number is bounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vegrt.infer.drift.record import Period
from vegrt.infer.trust.histograms import Binned, Edges

HOURS = 72  # so many of the newest hours with photos stay hours
DAYS = 60  # so many of the newest days with photos are kept
_HOUR_S, _DAY_S = 3600, 86400


@dataclass(slots=True)
class Tally:
    """The counts of a period that is not over. Fields as in Period; lists, because few photos come at a time."""

    start: int
    hours: int
    classes: list[int]
    confidence: list[int]
    scores: list[int]
    unsure: int

    @classmethod
    def of(cls, period: Period) -> Tally:
        """Return a stored period, to go on with."""
        lists = list(period.classes), list(period.confidence), list(period.scores)
        return cls(period.start, period.hours, *lists, period.unsure)

    def count(self, photos: Binned) -> None:
        """Add N photos."""
        for label, confidence, score, unsure in photos.rows():
            self.classes[label] += 1
            self.confidence[confidence] += 1
            self.scores[score] += 1
            self.unsure += unsure

    def period(self) -> Period:
        """Return the counts until now."""
        lists = tuple(self.classes), tuple(self.confidence), tuple(self.scores)
        return Period(self.start, self.hours, *lists, self.unsure)


class Periods:
    """All periods, the oldest first; photos are added to the last."""

    def __init__(self, stored: Sequence[Period], classes: int, edges: Edges) -> None:
        self._over = list(stored[:-1])
        self._last = Tally.of(stored[-1]) if stored else None
        self._classes, self._edges = classes, edges

    def count(self, photos: Binned, time: int) -> None:
        """Add N photos to the hour of `time`; to the last period, if the clock has gone back behind it."""
        start = time - time % _HOUR_S
        if self._last is None or start > self._last.start:
            if self._last is not None:
                self._over = _bounded([*self._over, self._last.period()])
            self._last = Tally.of(empty_period(start, self._classes, self._edges))
        self._last.count(photos)

    def all(self) -> tuple[Period, ...]:
        """Return the periods until now."""
        return (*self._over, *([self._last.period()] if self._last else []))


def empty_period(start: int, classes: int, edges: Edges) -> Period:
    """Return an hour without photos. classes: K."""
    return Period(start, 1, (0,) * classes, (0,) * (len(edges.confidence) + 1), (0,) * (len(edges.scores) + 1), 0)


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
    """Return the newest hours, one less than HOURS, and the older ones as days, of which the oldest are dropped."""
    days: list[Period] = []
    for period in periods[: -(HOURS - 1)]:
        start = period.start - period.start % _DAY_S
        if days and days[-1].start == start:
            days[-1] = joined([days[-1], period], 24)
        else:
            days.append(replace(period, start=start, hours=24))
    return [*days[-DAYS:], *periods[-(HOURS - 1) :]]


def _sums(rows: Iterable[Sequence[int]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))
