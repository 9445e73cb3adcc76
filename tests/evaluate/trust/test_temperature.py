from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from vegrt.evaluate.resampling import Resamples
from vegrt.evaluate.trust.temperature import HIGHEST, calibration_figures, fit_temperature, mean_nll


def draw(photos: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 5) logits whose probabilities are right once they are divided by `sharpness`, and labels."""
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (photos, 5)).astype(np.float32)
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    return logits * np.float32(sharpness), labels


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_made_the_logits_sharper(sharpness: float) -> None:
    logits, labels = draw(4000, sharpness)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(sharpness, rel=0.05)
    best = minimize_scalar(lambda log: mean_nll(logits, labels, float(np.exp(log))), bounds=(-3, 3), method="bounded")
    assert mean_nll(logits, labels, temperature) == pytest.approx(best.fun, abs=1e-8)


def test_figures_improve_by_the_temperature() -> None:
    logits, labels = draw(2000, 3.0)
    resamples = Resamples(2000)
    before, after = (calibration_figures(logits, labels, divisor, resamples) for divisor in (1.0, 3.0))
    assert after.ece.high < before.ece.low
    assert after.nll.value < before.nll.value
    assert after.brier.value < before.brier.value


def test_answers_that_are_all_right_or_all_wrong_do_not_become_certain_or_endless() -> None:
    logits = np.eye(3, dtype=np.float32)
    assert fit_temperature(logits, np.arange(3)) == 1.0
    assert fit_temperature(logits, np.array([1, 2, 0])) == pytest.approx(HIGHEST, rel=1e-3)
