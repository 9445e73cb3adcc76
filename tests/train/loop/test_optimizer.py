from __future__ import annotations

import pytest
import torch

from vegrt.train.loop.optimizer import Schedule


def test_rate_rises_then_falls_to_nearly_zero() -> None:
    rates = [Schedule(100, 1.0, 0.1).rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-3


@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0])
def test_the_device_computes_the_same_rates(warmup: float) -> None:
    schedule = Schedule(20, 2e-4, warmup)
    for step in range(20):
        rate = schedule.rate_at(torch.tensor(float(step)))
        assert (rate.dtype, rate.shape) == (torch.float32, ())
        assert rate.item() == pytest.approx(schedule.rate(step), rel=1e-5, abs=1e-11)
