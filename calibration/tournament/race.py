"""The tournament: each range method's int8 model is judged on held-out photos, and a race stops the clearly worse ones early.

A race judges the method that leads after FIRST photos on all photos, and the others step by step. The rank of a method is its
flips, then its accuracy, then its KL divergence (`best_method`). A method is stopped as soon as the best rank that it can still
reach is behind the leader's:

- flips and accuracy: it has more flips already than the leader has on all photos, or as many and could not make up for its wrong
  answers even if it gave the float model's answer to every other photo. This is certain.
- KL: flips and accuracy can at best be equal, and the smallest KL divergence that it can be expected to reach is above the
  leader's. This is a paired t-test: photo by photo, the difference from the leader's divergence, whose mean over the photos so
  far lies CLEAR_T standard errors above 0 or more. The photos are a random sample without replacement from the tournament's, so
  the standard error has the finite-population correction (Cochran, Sampling Techniques, 1977, chapter 2).

Equal methods are never stopped. Source of the race with paired t-tests and a Bonferroni correction: Maron and Moore, The Racing
Algorithm, 1997; Birattari et al., A Racing Algorithm for Configuring Metaheuristics, GECCO 2002 (tBo-Race).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vegrt.calibration.graph.placement import Encoding
from vegrt.calibration.graph.quantize import Ranges
from vegrt.calibration.ranges.methods import METHODS, Method
from vegrt.calibration.tournament.scorer import QuantizationScore, Scorer, kl_divergences, score_logits
from vegrt.schema import Count

TOURNAMENT_PHOTOS = 256  # at most: eight models are scored on them
# Photos that every method answers; a multiple of the scorer's batch, as is STEP, so that batches do not change
FIRST = 32
STEP = 32
# One error in a hundred tournaments: 2 encodings x 3 methods x 7 steps make 42 tests, and Student's t of 31 degrees of freedom
# exceeds 3.9 with probability 0.01 / 42.
CLEAR_T = 4.0
RULE = {"first": FIRST, "step": STEP, "t": CLEAR_T}  # of the calibration key

Reason = Literal["flips", "accuracy", "KL"]
Rank = tuple[int, int, float]  # flips, negated right answers, KL divergence in two digits; the least is best


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a method was stopped: after how many photos, and the first part of the rank in which it is behind."""

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
        self._count = min(TOURNAMENT_PHOTOS, len(scorer.held_out))
        self._photos = _Photos(scorer.reference(self._count), np.array(scorer.held_out.first(self._count).labels))

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
        labels = self._photos.labels[:images].tolist()
        score = score_logits(self._photos.reference[:images], self._answers(method, images), labels)
        return MethodScore(method, self._encoding, score, stop)

    def _answers(self, method: Method, images: int) -> NDArray[np.float32]:
        return self._scorer.answers(self._encoding, self._table[method], images)


@dataclass(frozen=True, slots=True)
class _Photos:
    """The photos of a race. reference: the float model's (N, K) logits. labels: (N,)."""

    reference: NDArray[np.float32]
    labels: NDArray[np.int64]

    def rank(self, logits: NDArray[np.float32]) -> Rank:
        """Return the rank of a method by its (M, K) logits for the first M photos."""
        flips, right = self._counts(logits)
        return flips, -right, _two_digits(float(kl_divergences(self.reference[: len(logits)], logits).mean()))

    def behind(self, logits: NDArray[np.float32], best: NDArray[np.float32]) -> Reason | None:
        """Return the part of the rank in which a method is behind for certain or clearly; None if it may still win.

        logits: its (M, K) answers to the first M photos, M < N. best: the leader's (N, K) answers.
        """
        flips, right = self._counts(logits)
        rest = slice(len(logits), None)
        right_at_best = right + int((self.reference[rest].argmax(axis=1) == self.labels[rest]).sum())
        best_rank = flips, -right_at_best, _two_digits(self._least_kl(logits, best))
        for reason, own, leading in zip(get_args(Reason), best_rank, self.rank(best), strict=True):
            if own != leading:
                return reason if own > leading else None
        return None

    def _counts(self, logits: NDArray[np.float32]) -> tuple[int, int]:
        """Return the flips and the right answers on the first photos."""
        answers, first = logits.argmax(axis=1), slice(len(logits))
        return int((answers != self.reference[first].argmax(axis=1)).sum()), int((answers == self.labels[first]).sum())

    def _least_kl(self, logits: NDArray[np.float32], best: NDArray[np.float32]) -> float:
        """Return a lower bound of the mean KL divergence over all N photos, from the answers to M of them.

        A photo's divergence is at least 0, so their sum so far is certain; the other bound is that of the paired t-test.
        """
        images, photos = len(logits), len(self.reference)
        own, leading = kl_divergences(self.reference[:images], logits), kl_divergences(self.reference, best)
        differences = own - leading[:images]
        error = float(differences.std(ddof=1)) * sqrt((1 - images / photos) / images)
        return max(float(own.sum()) / photos, float(leading.mean() + differences.mean()) - CLEAR_T * error)


def _two_digits(kl: float) -> float:
    return float(f"{kl:.1e}")
