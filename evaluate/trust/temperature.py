"""The temperature that calibrates a candidate's probabilities.

C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, On Calibration of Modern Neural Networks, ICML 2017: softmax(logits / T), T by the
negative log-likelihood. It changes no top-1 answer.
"""

from __future__ import annotations

from math import exp, log

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.figures import LabelledAnswers, figures_of
from vegrt.evaluate.resampling import Resamples
from vegrt.infer.runtimes.logits import log_softmax
from vegrt.infer.trust.record import CalibrationFigures
from vegrt.results.common import Interval

LOWEST, HIGHEST = 0.05, 20.0  # of a temperature: where nearly all answers are wrong, it would grow without end
_GOLDEN = (5**0.5 - 1) / 2
_PRECISION = 1e-7  # of log T


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int_]) -> float:
    """Return the temperature with the smallest mean NLL of (N, K) logits, from LOWEST to HIGHEST; 1 if no answer is wrong.

    Without a wrong answer the NLL falls for as long as the temperature does, and every probability would become 1. By
    golden-section search over log T: the NLL is convex in 1/T, so it has one minimum.
    """

    if (logits.argmax(axis=1) == labels).all():
        return 1.0

    def loss(log_temperature: float) -> float:
        return mean_nll(logits, labels, exp(log_temperature))

    low, high = log(LOWEST), log(HIGHEST)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    left_loss, right_loss = loss(left), loss(right)
    while high - low > _PRECISION:
        if left_loss <= right_loss:
            high, right, right_loss = right, left, left_loss
            left = high - _GOLDEN * (high - low)
            left_loss = loss(left)
        else:
            low, left, left_loss = left, right, right_loss
            right = low + _GOLDEN * (high - low)
            right_loss = loss(right)
    return exp((low + high) / 2)


def mean_nll(logits: NDArray[np.float32], labels: NDArray[np.int_], temperature: float) -> float:
    """Return the mean negative log-likelihood, in nats, of (N, K) logits divided by a temperature."""
    logs = log_softmax(logits / np.float64(temperature))
    return float(-logs[np.arange(len(labels)), labels].mean())


def calibration_figures(
    logits: NDArray[np.float32], labels: NDArray[np.int_], temperature: float, resamples: Resamples
) -> CalibrationFigures:
    """Return ECE, NLL and Brier score, with bootstrapped intervals, of (N, K) logits divided by a temperature."""
    figures = figures_of(LabelledAnswers.of((logits / temperature).astype(np.float32), labels), resamples)
    assert isinstance(figures.ece, Interval)
    assert isinstance(figures.nll, Interval)
    assert figures.brier is not None
    return CalibrationFigures(figures.ece, figures.nll, figures.brier)
