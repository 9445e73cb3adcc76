"""Outlier channels: one channel is so large that a common scale leaves the others almost no steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vegrt.calibration.graph.placement import Placement
from vegrt.calibration.ranges.observe import Observation
from vegrt.schema import Positive

# A tensor's largest channel over its median one, above which a median channel is left 127 / 32 = 4 steps of an int8 scale.
OUTLIER_RATIO = 32.0


@dataclass(frozen=True, slots=True)
class Outlier:
    """A tensor with an outlier channel, and the layers that read it. typical: the median channel's largest magnitude."""

    tensor: str
    layers: tuple[str, ...]
    channel: int
    peak: Positive
    typical: float

    def __str__(self) -> str:
        """Return the finding and the cure, in one line."""
        return (
            f"{', '.join(self.layers)}: channel {self.channel} of the input reaches {self.peak:.3g}, the median channel "
            f"{self.typical:.3g}; 8 bits leave the median channel {127 * self.typical / self.peak:.1f} steps; if int8 loses "
            "accuracy, keep the layer in float (--max-drop or --float-layers)"
        )


def find_outliers(observations: Mapping[str, Observation], placement: Placement) -> list[Outlier]:
    """Return the tensors that `placement` quantizes and whose largest channel exceeds OUTLIER_RATIO medians.

    Channels that are always zero do not count. Tokens are left out: an observation's channels are those of axis 1.
    """
    outliers = []
    for name, edges in placement.activations.items():
        if name in placement.tokens:
            continue
        peaks = observations[name].channels
        nonzero = peaks[peaks > 0]
        if len(nonzero) > 1 and peaks.max() > OUTLIER_RATIO * (typical := float(np.median(nonzero))):
            layers = tuple(dict.fromkeys(edge.node for edge in edges))
            outliers.append(Outlier(name, layers, int(peaks.argmax()), float(peaks.max()), typical))
    return outliers
