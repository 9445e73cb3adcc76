"""Tables of a calibration and its analyses for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.analysis import Analyses
from vegrt.calibration.graph.work import share_percent
from vegrt.calibration.settings import VARIANTS
from vegrt.terminal.tables import make_table

if TYPE_CHECKING:
    from rich.table import Table


def calibration_tables(bundle: Bundle, analyses: Analyses) -> Iterator[Table]:
    """Yield the tournament, the layers in float, and the analyses as tables."""
    entry = bundle.manifest.calibration
    yield _tournament(entry)
    yield _mixed_precision(entry)
    yield from analysis_tables(analyses)


def analysis_tables(analyses: Analyses) -> Iterator[Table]:
    """Yield the analyses of a calibration as tables."""
    if sensitivity := analyses.sensitivity:
        heads = ("layer", "encoding", "KL, nats", "SQNR, dB", "flips")
        ordered = sorted(sensitivity.rows, key=lambda row: -row.kl)
        costs = [(row.layer, row.encoding, _figure(row.kl), f"{row.sqnr_db:.1f}", str(row.flips)) for row in ordered]
        title = f"Each layer alone in 8 bits, {sensitivity.images} held-out photos, most sensitive first"
        yield make_table(title, heads, costs)
    if curve := analyses.curve:
        heads = ("photos observed", "encoding", "agreement", "KL, nats", "flips")
        points = [
            (str(point.images), point.encoding, f"{point.agreement:.2%}", _figure(point.kl), str(point.flips))
            for point in curve.rows
        ]
        yield make_table(f"Ranges from fewer photos, scored on {curve.images} held-out photos", heads, points)


def _tournament(entry: dict[str, Any]) -> Table:
    lines = [
        (
            *(row["encoding"], row["method"], f"{row['agreement']:.2%}", f"{row['accuracy']:.2%}", _figure(row["kl"])),
            _outcome(row, entry["method"]),
        )
        for row in entry["tournament"]
    ]
    heads = ("encoding", "method", "agreement with fp32", "accuracy", "KL, nats", "")
    title = f"Ranges from {entry['images']} photos, scored on {entry['judged_images']} held-out photos"
    return make_table(title, heads, lines)


def _outcome(row: Mapping[str, Any], winners: Mapping[str, str]) -> str:
    """Return in words how the tournament ended for a method."""
    if stopped := row.get("stopped"):
        return f"stopped after the {stopped['images']} hardest photos ({stopped['reason']})"
    return "chosen" if winners[row["encoding"]] == row["method"] else ""


def _mixed_precision(entry: dict[str, Any]) -> Table:
    lines = []
    for variant in VARIANTS.values():
        float_layers, score = entry["float_layers"].get(variant, []), entry["budget_scores"].get(variant)
        cost = f"{score['drop_points']:+.2f} points, {score['flips']} flips" if score else ""
        layers = f"{entry['int8_weight_layers'][variant]} of {entry['weight_layers']}"
        share = share_percent(entry["int8_macs_share"][variant])
        lines.append((variant, ", ".join(float_layers) or "none", share, layers, cost))
    heads = (
        "variant",
        "layers in float",
        "multiplications in 8 bits",
        "weight layers in 8 bits",
        f"cost on {entry['budget']['images']} held-out photos",
    )
    return make_table("Mixed precision", heads, lines)


def _figure(value: float) -> str:
    return f"{value:.3g}"
