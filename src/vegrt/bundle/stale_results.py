"""Results that a change of the bundle makes stale: they are deleted together with the artifacts that they measured."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from vegrt.errors import FormatError
from vegrt.schema import read_json

_ENGINE_RUNTIME = "tensorrt"
_TABLES = "predictions-{name}.parquet"  # beside evaluate-{name}.json


def stale_results(bundle: Path, hashes: Collection[str]) -> list[str]:
    """Return the names, such as results/bench.json, of vegrt's own results about an artifact that is not among `hashes`.

    hashes: SHA-256 of the artifacts that the bundle is about to hold, in hex. Links, files of other programs and unreadable
    files are not stale. Neither is a file in which only rows of engines are: those are left out where results are read
    (vegrt.results.rows), because rebuilding an engine takes nothing from what was measured of the models.
    """
    results = bundle / "results"
    if results.is_symlink():
        return []
    files = [file for file in sorted(results.glob("*.json")) if not file.is_symlink() and _is_stale(file, set(hashes))]
    names = [file.stem.removeprefix("evaluate-") for file in files if file.stem.startswith("evaluate-")]
    tables = [table for name in names if (table := results / _TABLES.format(name=name)).is_file()]
    return [f"results/{file.name}" for file in files + tables]


def _is_stale(file: Path, hashes: set[str]) -> bool:
    try:
        result = read_json(file)
        is_ours = str(result["schema"]).startswith("vegrt-")
        rows = [(row.get("runtime"), str(row["artifact_sha256"]) in hashes) for row in result["candidates"]]
        return is_ours and not (
            any(is_current for _, is_current in rows)
            and all(is_current or runtime == _ENGINE_RUNTIME for runtime, is_current in rows)
        )
    except (OSError, FormatError, KeyError, TypeError, AttributeError):
        return False
