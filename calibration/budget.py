"""Mixed precision under a budget: the fewest, most sensitive layers that have to stay in float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import onnx_ir as ir

from vegrt.calibration.judge import Score
from vegrt.calibration.place import layers
from vegrt.calibration.settings import Settings


def within(score: Score, settings: Settings) -> bool:
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


def convolution_macs(model: ir.Model) -> dict[str, int]:
    """Return the multiply-accumulates of every Conv of a graph for one image: output pixels x weights of the layer."""
    found = {}
    for node in model.graph:
        weight = node.inputs[1] if node.op_type == "Conv" else None
        if weight is not None:
            pixels, weights = _sizes(node.outputs[0])[2:], _sizes(weight)
            found[str(node.name)] = prod(pixels) * prod(weights)
    return found


def _sizes(value: ir.Value) -> list[int]:
    """Return a tensor's shape, with 1 for what is not fixed."""
    return [size if isinstance(size, int) else 1 for size in value.shape or ()]


def int8_share(model: ir.Model, float_layers: frozenset[str]) -> float:
    """Return which share of the convolutions' multiply-accumulates is 8-bit when `float_layers` stay in float."""
    macs = convolution_macs(model)
    quantized = set(layers(model, "signed")) - float_layers
    return sum(count for name, count in macs.items() if name in quantized) / max(sum(macs.values()), 1)
