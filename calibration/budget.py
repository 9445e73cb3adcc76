"""Mixed precision under a budget: the fewest, most sensitive layers that have to stay in float."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vegrt.calibration.judge import QuantizationScore
from vegrt.calibration.settings import CalibrationSettings


def within(score: QuantizationScore, settings: CalibrationSettings) -> bool:
    """Return whether a model costs no more than the settings allow."""
    flips = settings.max_flips is None or score.flips <= settings.max_flips
    return flips and (settings.max_drop is None or score.drop_points <= settings.max_drop + 1e-9)


def fewest_float_layers(
    ordered: Sequence[str], holds: Callable[[frozenset[str]], bool], always: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """Return the layers to keep in float, most sensitive first.

    ordered: candidates, most sensitive first. holds: whether the budget holds with these in float; expected to hold with
    all of them. always: in float in any case, and in every set that `holds` is asked about. Their number is doubled until
    the budget holds and then bisected; in the end each is put back into 8 bits, least sensitive first, if it still holds.
    """
    if holds(always):
        return ()
    candidates = [name for name in ordered if name not in always]
    enough = 1
    while enough < len(candidates) and not holds(always | set(candidates[:enough])):
        enough *= 2
    low, high = enough // 2, min(enough, len(candidates))  # `low` is known not to hold, `high` holds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(always | set(candidates[:middle])) else (middle, high)
    kept = candidates[:high]
    for name in reversed(candidates[: high - 1]):  # the last one was needed: without it the budget did not hold
        if holds(always | (set(kept) - {name})):
            kept.remove(name)
    return tuple(kept)
