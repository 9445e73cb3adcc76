from __future__ import annotations

import pytest

from vegrt.results.common import Verdict
from vegrt.results.verdict import worst_verdict


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        (["REFERENCE", "PASS"], "PASS"),
        (["REFERENCE", "PASS", "INCONCLUSIVE"], "INCONCLUSIVE"),
        (["FAIL", "INCONCLUSIVE"], "FAIL"),
        (["REFERENCE"], "INCONCLUSIVE"),  # the gate did not run
        ([], "INCONCLUSIVE"),
    ],
)
def test_the_worst_verdict_wins(verdicts: list[Verdict], worst: Verdict) -> None:
    assert worst_verdict(verdicts) == worst
