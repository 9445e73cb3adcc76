"""Split conformal prediction: sets of classes that hold the true one in a stated share of photos like those of validation.

LAC: M. Sadinle, J. Lei, L. Wasserman, JASA 114 (2019): the smallest sets on average; a set may be empty. APS: Y. Romano, M.
Sesia, E. Candes, NeurIPS 2020: the threshold is of randomised scores, and the set holds every class that some draw would put
in: never empty, and more than the stated share. The finite-sample correction: V. Vovk, A. Gammerman, G. Shafer, Algorithmic
Learning in a Random World, 2005.
"""

from __future__ import annotations

from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.trust.record import SetMethod, SetRule

COVERAGES = (0.90, 0.95, 0.99)
_SEED = 0
METHODS: tuple[SetMethod, ...] = ("lac", "aps")


def conformity(probabilities: NDArray[np.float64], labels: NDArray[np.int_], method: SetMethod) -> NDArray[np.float64]:
    """Return the (N,) nonconformity of each label among (N, K) probabilities, high where the label is improbable.

    LAC: 1 - p(label). APS: the probability of all more probable classes, and a share of the label's own, drawn from a fixed seed.
    The whole of its own would make every confident answer as strange as a wrong one.
    """
    own = probabilities[np.arange(len(labels)), labels]
    if method == "lac":
        return np.asarray(1 - own)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    totals = np.take_along_axis(probabilities, order, axis=1).cumsum(axis=1)
    ranks = (order == labels[:, None]).argmax(axis=1)
    drawn = np.random.default_rng(_SEED).random(len(labels))
    return np.asarray(totals[np.arange(len(labels)), ranks] - (1 - drawn) * own)


def photos_needed(coverage: float) -> int:
    """Return the smallest n with ceil((n + 1) coverage) <= n: with fewer photos no threshold gives this coverage."""
    photos = max(1, floor(coverage / (1 - coverage)) - 1)
    while _rank(photos, coverage) > photos:
        photos += 1
    return photos


def quantile(scores: NDArray[np.float64], coverage: float) -> float | None:
    """Return the ceil((n + 1) coverage)-th smallest of n scores; None where there are too few."""
    rank = _rank(len(scores), coverage)
    return float(np.sort(scores)[rank - 1]) if 0 < rank <= len(scores) else None


def fit_sets(probabilities: NDArray[np.float64], labels: NDArray[np.int_]) -> tuple[SetRule, ...]:
    """Return the thresholds of every method and coverage, for all classes together and for each class.

    A class with fewer than `photos_needed` photos has no threshold of its own.
    """
    rules = []
    classes = range(probabilities.shape[1])
    for method in METHODS:
        scores = conformity(probabilities, labels, method)
        for coverage in COVERAGES:
            by_class = tuple(quantile(scores[labels == label], coverage) for label in classes)
            rules.append(SetRule(method, coverage, photos_needed(coverage), quantile(scores, coverage), by_class))
    return tuple(rules)


def _rank(photos: int, coverage: float) -> int:
    return ceil((photos + 1) * coverage - 1e-9)
