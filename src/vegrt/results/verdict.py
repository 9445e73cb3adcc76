"""The combined verdict of several candidates or cases."""

from __future__ import annotations

from collections.abc import Iterable

from vegrt.results.common import Verdict


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """Return FAIL if any verdict is FAIL, else INCONCLUSIVE if any is or if only references were run, else PASS."""
    judged = set(verdicts) - {"REFERENCE"}
    if "FAIL" in judged:
        return "FAIL"
    return "PASS" if judged == {"PASS"} else "INCONCLUSIVE"
