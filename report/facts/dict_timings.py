"""Timings as JSON values, until the report reads the typed results: then delete this module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vegrt.infer.runtimes.objective import Objective


def single_photo(points: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the timing of batch size 1; None where it was not measured."""
    return next((point for point in points if point.get("batch") == 1 and "p50_ms" in point), None)


def best_batch(points: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the timing with the most images per second; None without timings."""
    return max(points, key=lambda point: float(point["images_per_s"]), default=None)


def point_of(points: Sequence[Mapping[str, Any]], objective: Objective) -> Mapping[str, Any] | None:
    """Return the timing that decides for the objective."""
    return single_photo(points) if objective == "latency" else best_batch(points)


def is_noisy(bench: Mapping[str, Any]) -> bool:
    """Return whether a benchmark was noisy."""
    noise = bench.get("noise")
    return isinstance(noise, Mapping) and bool(noise.get("busy") or noise.get("wide"))
