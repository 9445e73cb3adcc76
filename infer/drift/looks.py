"""Looks at windows of 100, 200, 400 ... photos as they fill; all looks together raise a false alarm with a stated probability.

Bonferroni over all tests of all looks: the m-th window of level j may spend 2^-(j+1) / (m (m + 1)) of the probability, and these
weights sum to at most 1 over all windows, however many there will be (alpha spending: K. Lan, D. DeMets, Biometrika 70, 1983).
It needs no independence: the windows overlap, share the reference, and look at several signals of the same photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vegrt.infer.drift.compare import compare_classes, compare_photos, stability_indices
from vegrt.infer.drift.record import Alarm, Alarms, Finding, Kind, Level
from vegrt.infer.trust.histograms import Binned, Edges, Histogram

BLOCK = 100  # photos in a window of the first level; each level has twice as many as the one before
LEVELS = 16  # up to 3.3 million photos
# Largest probability that a counters file ever holds a false alarm, whatever its length; half of it for each kind
FALSE_ALARMS = 0.01
_MOST_FINDINGS = 8


@dataclass(slots=True)
class Looks:
    """The windows that are filling, and the alarms of those that are complete. reference: counts of validation photos."""

    reference: Histogram
    edges: Edges
    closed: list[int]
    open: list[Histogram]
    alarms: dict[Kind, Alarms]
    photos: int = 0
    last_look: int | None = None

    @classmethod
    def resumed(
        cls, reference: Histogram, edges: Edges, levels: Sequence[Level], alarms: dict[Kind, Alarms], photos: int
    ) -> Looks:
        """Return the looks of a stored state; of no photos yet, where it has no levels."""
        classes = len(reference.unsure)
        rows = [*levels, *[Level(0, ())] * (LEVELS - len(levels))][:LEVELS]
        filling = [Histogram.of(level.open, classes, edges) for level in rows]
        return cls(reference, edges, [level.closed for level in rows], filling, alarms, photos)

    def levels(self) -> tuple[Level, ...]:
        """Return the state to be stored, up to the last level with photos."""
        rows = [Level(closed, window.rows()) for closed, window in zip(self.closed, self.open, strict=True)]
        used = max((place + 1 for place, row in enumerate(rows) if row.closed or row.open), default=0)
        return tuple(rows[:used])

    def count(self, photos: Binned, time: int) -> None:
        """Add N photos, and look at each window that they complete. time: in seconds since 1970."""
        start = 0
        while start < len(photos):
            end = min(len(photos), start + BLOCK - self.open[0].photos)
            self.open[0].count(photos.part(start, end))
            self.photos += end - start
            if self.open[0].photos == BLOCK:
                self._close(0, time)
            start = end

    def _close(self, level: int, time: int) -> None:
        window = self.open[level]
        self.closed[level] += 1
        self._look(window, level, time)
        self.open[level] = Histogram.empty(len(window.unsure), self.edges)
        if level + 1 < LEVELS:
            self.open[level + 1].add(window)
            if self.open[level + 1].photos == BLOCK << (level + 1):
                self._close(level + 1, time)

    def _look(self, window: Histogram, level: int, time: int) -> None:
        self.last_look = time
        spent = weight(level, self.closed[level]) * FALSE_ALARMS / 2
        compared: dict[Kind, list[Finding]] = {
            "photos": compare_photos(self.reference, window, self.edges),
            "classes": compare_classes(self.reference, window),
        }
        for kind, tested in compared.items():
            limit = spent / len(tested)
            changed = sorted((row for row in tested if row.p <= limit), key=_order)
            if changed:
                psi = stability_indices(self.reference, window)
                own = {name: index for name, index in psi.items() if (name == "class") == (kind == "classes")}
                alarm = Alarm(self.photos, time, window.photos, tuple(changed[:_MOST_FINDINGS]), own)
                former = self.alarms[kind]
                if (
                    former.latest is None or former.latest.photos < self.photos
                ):  # of windows that end together, the shortest
                    self.alarms[kind] = Alarms(former.first or alarm, alarm)


def weight(level: int, number: int) -> float:
    """Return the share of the probability of a false alarm that the window of this number, from 1, may spend."""
    return float(np.ldexp(1.0, -(level + 1))) / (number * (number + 1))


def _order(finding: Finding) -> tuple[bool, float]:
    """Shares of decisions first, then the least probable."""
    return finding.signal not in ("foreign", "unsure"), finding.p
