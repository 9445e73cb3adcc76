"""The tournament: each range method's int8 model is judged on held-out photos, and a race stops the clearly worse ones early.

The photos of a race come hardest first: by the float model's margin, its largest logit minus the second largest, because flips
and most of the KL divergence are where the margin is small. A race judges the method that leads after FIRST photos on all
photos, and the others step by step. The rank of a method is its flips, then its accuracy, then its KL divergence
(`best_method`). A method is stopped as soon as the best rank that it can still reach is behind the leader's. It has at least the
flips of the photos so far, can at best give the float model's answer to all others, and has at least the KL divergence of the
photos so far: that of a photo is never negative. So a stop is certain, and the winner is that of a tournament on all photos.
Equal methods are never stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vegrt.calibration.graph.placement import Encoding
from vegrt.calibration.graph.quantize import Ranges
from vegrt.calibration.pixels import PhotoSet
from vegrt.calibration.ranges.methods import METHODS, Method
from vegrt.calibration.tournament.scorer import QuantizationScore, Scorer, kl_divergences, score_logits
from vegrt.schema import Count

TOURNAMENT_PHOTOS = 256  # at most: eight models are scored on them
# Photos that every method answers; a multiple of the scorer's batch, as is STEP, so that batches do not change
FIRST = 32
STEP = 16
RULE = {"order": "hardest first", "first": FIRST, "step": STEP}  # of the calibration key

Reason = Literal["flips", "accuracy", "KL"]
Rank = tuple[int, int, float]  # flips, negated right answers, KL divergence in two digits; the least is best


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a method was stopped: after how many photos, hardest first, and the first part of the rank in which it is behind."""

    images: Count
    reason: Reason


@dataclass(frozen=True, slots=True)
class MethodScore:
    """The score of one method's int8 model on the held-out photos; if it was stopped, on the photos until then."""

    method: Method
    encoding: Encoding
    score: QuantizationScore
    stopped: Stop | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values, without `stopped` for a method that was judged on all photos."""
        stop = {"stopped": asdict(self.stopped)} if self.stopped else {}
        return {"method": self.method, "encoding": self.encoding} | asdict(self.score) | stop


def best_method(scores: Iterable[MethodScore]) -> Method:
    """Return the method that agrees most often; then by accuracy, then by KL in two digits; ties go to the simplest.

    Methods that were stopped cannot win.
    """
    return min(
        (row for row in scores if row.stopped is None),
        key=lambda row: (-row.score.agreement, -row.score.accuracy, _two_digits(row.score.kl)),
    ).method


def judge_all(encoding: Encoding, table: Mapping[Method, Ranges], scorer: Scorer) -> list[MethodScore]:
    """Return the score of every method on all photos of the tournament. table: each method's ranges."""
    return [
        MethodScore(method, encoding, scorer.score(encoding, ranges, photos=TOURNAMENT_PHOTOS))
        for method, ranges in table.items()
    ]


def race(encoding: Encoding, table: Mapping[Method, Ranges], scorer: Scorer) -> list[MethodScore]:
    """Return the score of every method, of the clearly worse ones on a part of the photos. table: each method's ranges."""
    return _Race(encoding, table, scorer).run()


class _Race:
    """The race of the methods of one encoding."""

    def __init__(self, encoding: Encoding, table: Mapping[Method, Ranges], scorer: Scorer) -> None:
        self._encoding, self._table, self._scorer = encoding, table, scorer
        photos = scorer.held_out.first(TOURNAMENT_PHOTOS)
        reference = scorer.reference(len(photos))
        self._count, self._order = len(photos), hardest_first(reference)
        self._ordered = PhotoSet([photos.photos[index] for index in self._order], photos.pixels)
        self._photos = _Photos(reference[self._order], np.array(photos.labels)[self._order])

    def run(self) -> list[MethodScore]:
        """Return the methods' scores, in the order of the table."""
        first = min(FIRST, self._count)
        after_first = {method: self._photos.rank(self._answers(method, first)) for method in self._table}
        leader, *others = sorted(self._table, key=lambda method: (after_first[method], METHODS.index(method)))
        best, stops = self._answers(leader, self._count), dict[Method, Stop]()
        for method in others:
            if stop := self._stop(method, best):
                stops[method] = stop
            elif self._photos.rank(answers := self._answers(method, self._count)) < self._photos.rank(best):
                best = answers
        return [self._score(method, stops.get(method)) for method in self._table]

    def _stop(self, method: Method, best: NDArray[np.float32]) -> Stop | None:
        """Let a method answer step by step. Return where it was stopped; None when it has answered all photos."""
        for images in range(min(FIRST, self._count), self._count, STEP):
            if reason := self._photos.behind(self._answers(method, images), best):
                return Stop(images, reason)
        return None

    def _score(self, method: Method, stop: Stop | None) -> MethodScore:
        images = stop.images if stop else self._count
        # in the order of the photo set, as without a race: sums of floats depend on the order
        rows = np.argsort(self._order) if stop is None else np.arange(images)
        labels = self._photos.labels[rows].tolist()
        score = score_logits(self._photos.reference[rows], self._answers(method, images)[rows], labels)
        return MethodScore(method, self._encoding, score, stop)

    def _answers(self, method: Method, images: int) -> NDArray[np.float32]:
        return self._scorer.answers(self._encoding, self._table[method], self._ordered, images)


@dataclass(frozen=True, slots=True)
class _Photos:
    """The photos of a race, hardest first. reference: the float model's (N, K) logits. labels: (N,)."""

    reference: NDArray[np.float32]
    labels: NDArray[np.int64]

    def rank(self, logits: NDArray[np.float32]) -> Rank:
        """Return the rank of a method by its (M, K) logits for the first M photos."""
        flips, right = self._counts(logits)
        return flips, -right, _two_digits(float(kl_divergences(self.reference[: len(logits)], logits).mean()))

    def behind(self, logits: NDArray[np.float32], best: NDArray[np.float32]) -> Reason | None:
        """Return the part of the rank in which a method is behind for certain; None if it may still win.

        logits: its (M, K) answers to the first M photos, M < N. best: the leader's (N, K) answers.
        """
        flips, right = self._counts(logits)
        rest = slice(len(logits), None)
        right_at_best = right + int((self.reference[rest].argmax(axis=1) == self.labels[rest]).sum())
        least_kl = float(kl_divergences(self.reference[: len(logits)], logits).sum()) / len(self.reference)
        best_rank = flips, -right_at_best, _two_digits(least_kl)
        for reason, own, leading in zip(get_args(Reason), best_rank, self.rank(best), strict=True):
            if own != leading:
                return reason if own > leading else None
        return None

    def _counts(self, logits: NDArray[np.float32]) -> tuple[int, int]:
        """Return the flips and the right answers on the first photos."""
        answers, first = logits.argmax(axis=1), slice(len(logits))
        return int((answers != self.reference[first].argmax(axis=1)).sum()), int((answers == self.labels[first]).sum())


def hardest_first(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the order of photos by the margin of their (N, K) logits, smallest first; of equal ones the earlier first."""
    two = np.partition(logits, -2, axis=1)[:, -2:]
    order: NDArray[np.int64] = np.argsort(two[:, 1] - two[:, 0], kind="stable")
    return order


def _two_digits(kl: float) -> float:
    return float(f"{kl:.1e}")
