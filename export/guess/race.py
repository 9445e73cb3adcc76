"""Contracts race on labelled photos: after each step, those that are clearly worse than the leader, or beyond a number, stop.

A contract's score is the mean over photos of -log of the label's probability (nats). Accuracy alone cannot tell contracts apart
whose pixels differ little. Two corrections make the score robust:

- The logits are divided by a temperature fitted to the photos (Guo et al., ICML 2017), with a normal prior on its logarithm, so
  that a contract with too much contrast does not win by confidence, and one that is always right has no infinite confidence.
- The probabilities are mixed with 1 % of chance, so that no single photo decides.

Contracts are ranked by the sum of the score over all photos plus the rarity of the contract (vegrt.export.guess.choices): by the
probability of the contract after the photos, up to a constant. With every photo, the rarity matters less.

The comparison with the leader is paired, photo by photo: a contract stops when the mean of the differences is CLEAR_T standard
errors above 0 (Maron and Moore, The Racing Algorithm, 1997). Beyond the number, it stops unless it is among the best without its
rarity too, because few photos say little against a rarity that many would outweigh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from vegrt.export.guess.answers import Answers
from vegrt.export.guess.choices import rarity
from vegrt.infer.runtimes.logits import log_softmax
from vegrt.photo.contract import Contract

CLEAR_T = 3.0
_LOG_TEMPERATURES = np.linspace(-1.2, 1.2, 25)
_PRIOR = 0.35  # standard deviation of the logarithm of the temperature
_CHANCE_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a race: the number of photos that the contracts answer, and how many of the best contracts go on.

    The best by score and rarity, and as many by score alone, most of which are the same.
    """

    photos: int
    most: int


def race(answers: Answers, contracts: Sequence[Contract], steps: Sequence[Step]) -> list[Contract]:
    """Return the contracts that are left after the last step, the best first; of equal ones the first in `contracts`.

    Contracts that give the network the same numbers count as one and stay together.
    """
    remaining = list(dict.fromkeys(contracts))
    for step in steps:
        count = answers.photos.count(step.photos)
        groups = same_numbers(answers, remaining, count)
        losses = {first: losses_of(answers, first, count) for first in groups}
        ranked = sorted(groups, key=lambda first: total_of(first, losses[first]))
        near = [first for first in ranked if not is_clearly_worse(losses[first], losses[ranked[0]])]
        kept = {*near[: step.most], *sorted(near, key=lambda first: float(losses[first].sum()))[: step.most]}
        remaining = [contract for first in near if first in kept for contract in groups[first]]
    return remaining


def total_of(contract: Contract, losses: NDArray[np.float64]) -> float:
    """Return the sum of a contract's scores and its rarity, in nats; the least is the best."""
    return float(losses.sum()) + rarity(contract)


def losses_of(answers: Answers, contract: Contract, count: int) -> NDArray[np.float64]:
    """Return the (count,) scores of a contract, of the first readable photos; see the module."""
    return losses(answers.logits(contract, count), answers.photos.labels(count))


def losses(logits: NDArray[np.float32], labels: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return the (N,) scores of (N, K) logits: -log of the label's probability at the fitted temperature, in nats."""
    rows = np.arange(len(labels))
    by_temperature = [-log_softmax(logits / np.float32(np.exp(log)))[rows, labels] for log in _LOG_TEMPERATURES]
    penalties = (_LOG_TEMPERATURES / _PRIOR) ** 2 / 2
    totals = [float(_bounded(each, logits.shape[1]).sum()) for each in by_temperature]
    return _bounded(by_temperature[int(np.argmin(totals + penalties))], logits.shape[1])


def is_clearly_worse(own: NDArray[np.float64], leading: NDArray[np.float64]) -> bool:
    """Return whether the (N,) scores are worse than the leader's for the same photos, by a paired t-test."""
    differences = own - leading
    if len(differences) < 2:
        return False
    error = float(differences.std(ddof=1)) / sqrt(len(differences))
    return float(differences.mean()) > CLEAR_T * error > 0


def same_numbers(answers: Answers, contracts: Sequence[Contract], count: int) -> dict[Contract, list[Contract]]:
    """Return the contracts in groups that give the network the same numbers, by the first of each."""
    groups: dict[object, list[Contract]] = {}
    for contract in contracts:
        groups.setdefault(answers.signature(contract, count), []).append(contract)
    return {group[0]: group for group in groups.values()}


def _bounded(nll: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """Return -log of probabilities that are mixed with a share of chance."""
    return -np.log((1 - _CHANCE_SHARE) * np.exp(-nll) + _CHANCE_SHARE / classes)
