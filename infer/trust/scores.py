"""Scores that are high for photos of no class, from what a model already gives.

max-probability: D. Hendrycks, K. Gimpel, ICLR 2017. max-logit: D. Hendrycks et al., ICML 2022. energy: W. Liu et al., NeurIPS
2020. relative-mahalanobis: `vegrt.infer.trust.embeddings`; mahalanobis-and-neighbour: and the distance to the nearest
photo of the answered class (Y. Sun et al., ICML 2022), weighted; mahalanobis-two-neighbours: and how much that exceeds
the distance to the nearest photo of another class, weighted (the two distances of H. Jiang et al., To Trust Or Not To Trust A
Classifier, NeurIPS 2018, who divide them).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.runtimes.logits import log_softmax
from vegrt.infer.runtimes.runner import Answers
from vegrt.infer.trust.embeddings import Embeddings
from vegrt.infer.trust.record import TWO_NEIGHBOURS, ScoreMethod


def foreign_scores(method: ScoreMethod, answers: Answers, embeddings: Embeddings | None) -> NDArray[np.float64]:
    """Return the (N,) scores of a method; high for a photo of no class. embeddings: for a method that needs them."""
    logits = answers.logits.astype(np.float64)
    if method == "max-logit":
        return np.asarray(-logits.max(axis=1))
    if method == "energy":
        largest = logits.max(axis=1)
        return np.asarray(-largest - np.log(np.exp(logits - largest[:, None]).sum(axis=1)))
    if method == "max-probability":  # the logarithm orders photos where the probability is 1 to all digits
        others = log_softmax(answers.logits)
        np.put_along_axis(others, others.argmax(axis=1)[:, None], -np.inf, axis=1)
        return np.asarray(np.log(np.exp(others).sum(axis=1) + 1e-300))
    assert embeddings is not None, "Trust refuses the method without embeddings"
    features = answers.features(embeddings.parts)
    labels = answers.logits.argmax(axis=1)
    distances = embeddings.distances(features, labels, with_excess=method == TWO_NEIGHBOURS)
    if method == "relative-mahalanobis":
        return distances.relative
    neighbours = embeddings.neighbours
    scores = distances.relative + neighbours.weight * distances.nearest
    return scores if distances.excess is None else scores + neighbours.excess_weight * distances.excess
