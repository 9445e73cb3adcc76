"""Results that a change of the bundle makes void: they leave with the artifacts that they speak of."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

_TABLES = "predictions-{name}.parquet"  # beside evaluate-{name}.json


def stale_results(bundle: Path, hashes: Collection[str]) -> list[str]:
    """Return the names, such as results/bench.json, of vegrt's own results that speak of an artifact not among `hashes`.

    hashes: SHA-256 of the artifacts that the bundle is about to hold, in hex. Links, files of others and what cannot be read
    stay.
    """
    results = bundle / "results"
    if results.is_symlink():
        return []
    found = [file for file in sorted(results.glob("*.json")) if not file.is_symlink() and _is_stale(file, set(hashes))]
    names = [file.stem.removeprefix("evaluate-") for file in found if file.stem.startswith("evaluate-")]
    tables = [table for name in names if (table := results / _TABLES.format(name=name)).is_file()]
    return [f"results/{file.name}" for file in found + tables]


def _is_stale(file: Path, hashes: set[str]) -> bool:
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        ours = str(result["schema"]).startswith("vegrt-")
        return ours and not {str(row["artifact_sha256"]) for row in result["candidates"]} <= hashes
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
