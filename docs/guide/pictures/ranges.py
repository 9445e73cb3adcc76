"""Draws where each range method clips the tensors of a calibrated bundle: python ranges.py BUNDLE > ranges.svg.

A point is the threshold of a method for a tensor, from `calibration.json`, as a share of the tensor's largest magnitude.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

COLOURS = {"percentile": "#3d8bd6", "mse": "#dc7b1e", "entropy": "#4a8f1a"}
LEGEND = {"percentile": 0, "mse": 106, "entropy": 174}  # x, from the left edge of the plot
WIDTH, HEIGHT = 720, 356
LEFT, RIGHT, TOP, BOTTOM = 64, 704, 56, 322  # of the plot
TICKS = (0.01, 0.03, 0.1, 0.3, 1.0)


def thresholds(bundle: Path) -> list[dict[str, float]]:
    """Return for each tensor, in the order of the network, the share of its peak at which each method clips it (int8)."""
    tensors = json.loads((bundle / "calibration.json").read_text())["tensors"]
    signed = [tensor["signed"] for tensor in tensors.values()]
    return [{method: ranges[method][1] / ranges["minmax"][1] for method in COLOURS} for ranges in signed]


def height_of(share: float) -> float:
    """Return the y of a share of the peak, on a log scale from 1 % to 100 %."""
    return TOP - math.log10(max(share, TICKS[0])) / 2 * (BOTTOM - TOP)


def lines(rows: list[dict[str, float]]) -> Iterator[str]:
    """Yield the elements of the picture."""
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="white"/>'
    for tick in TICKS:
        y = height_of(tick)
        yield f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="{"#555" if tick == 1 else "#ddd"}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{tick:.0%}</text>'
    for i, row in enumerate(rows):
        x = LEFT + (i + 0.5) * (RIGHT - LEFT) / len(rows)
        yield from (
            f'<circle cx="{x:.1f}" cy="{height_of(share):.1f}" r="3.6" fill="{COLOURS[method]}"/>'
            for method, share in row.items()
        )
    yield f'<text x="{RIGHT}" y="{TOP - 7}" text-anchor="end" fill="#555">minmax clips nothing: 100 %</text>'
    for method, colour in COLOURS.items():
        yield f'<circle cx="{LEFT + LEGEND[method] + 6}" cy="24" r="5" fill="{colour}"/>'
        yield f'<text x="{LEFT + LEGEND[method] + 18}" y="29">{method}</text>'
    yield f'<text x="{LEFT}" y="{BOTTOM + 22}">first tensor of the network</text>'
    yield f'<text x="{RIGHT}" y="{BOTTOM + 22}" text-anchor="end">last tensor</text>'


def main() -> None:
    """Print the picture of the bundle that is named on the command line."""
    body = "\n".join(lines(thresholds(Path(sys.argv[1]))))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="15">'
    sys.stdout.write(f"{head}\n{body}\n</svg>\n")


if __name__ == "__main__":
    main()
