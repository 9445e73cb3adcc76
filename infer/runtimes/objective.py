"""What "fastest" means: the time of one photo, or photos per second in the best batch. `infer`, `serve` and the report share it.

Both are of the network alone (the measure `batches` of a benchmark): what comes before and after it is the same for all
candidates, and only hides how they differ. Decision 0020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

Objective = Literal["latency", "throughput"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
DEFAULT: Objective = "latency"


def single_photo(points: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the point of batch size 1; None where it was not measured."""
    return next((point for point in points if point.get("batch") == 1 and "p50_ms" in point), None)


def best_batch(points: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the point with the most images per second; None without points."""
    return max(points, key=lambda point: float(point["images_per_s"]), default=None)


def point_of(points: Sequence[Mapping[str, Any]], objective: Objective) -> Mapping[str, Any] | None:
    """Return the point that the objective looks at."""
    return single_photo(points) if objective == "latency" else best_batch(points)


def cost_ms(points: Sequence[Mapping[str, Any]], objective: Objective) -> float | None:
    """Return milliseconds per photo by the objective, the median; None where it was not measured."""
    point = point_of(points, objective)
    if point is None:
        return None
    return float(point["p50_ms"]) if objective == "latency" else 1e3 / float(point["images_per_s"])


def preference(cost: float | None, size_bytes: int, key: str) -> tuple[float, int, str]:
    """Return the sort key of a candidate, the best first: its cost by the objective, then the smaller file."""
    return (float("inf") if cost is None else cost, size_bytes, key)
