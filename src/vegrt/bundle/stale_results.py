"""Results that become stale when a bundle changes: they are deleted together with the artifacts that they describe."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from vegrt.errors import FormatError
from vegrt.schema import read_json

_ENGINE_RUNTIME = "tensorrt"
_ANSWERS = "answers"  # runtime of the rows about answers files
_TABLES = r"(evaluate-{name}(\.[0-9a-f]{{12}})?|predictions-{name})\.parquet"  # next to evaluate-{name}.json


def stale_results(bundle: Path, hashes: Collection[str]) -> list[str]:
    """Return the names, such as results/bench.json, of results that describe an artifact not among `hashes`.

    In the order in which they are to be deleted: while a result file exists, it tells which tables belong to it.

    hashes: SHA-256 of the artifacts of the new bundle, in hex. Links, unreadable files, and files that vegrt did not write are
    never stale. Nor is a file in which only rows of engines describe other artifacts: such rows are left out where results are
    read (vegrt.results.rows), because rebuilding an engine changes nothing about the models.
    """
    results = bundle / "results"
    if results.is_symlink():
        return []
    named = [file for file in sorted(results.glob("*.json")) if not file.name.startswith(".")]  # hidden: being written
    files = [file for file in named if not file.is_symlink() and _is_stale(file, set(hashes))]
    names = [file.stem.removeprefix("evaluate-") for file in files if file.stem.startswith("evaluate-")]
    tables = [file for name in names for file in _tables(results, name)]
    return [f"results/{file.name}" for file in tables + files]


def _tables(results: Path, name: str) -> list[Path]:
    own = re.compile(_TABLES.format(name=re.escape(name)))
    return sorted(file for file in results.glob("*.parquet") if own.fullmatch(file.name) and file.is_file())


def _is_stale(file: Path, hashes: set[str]) -> bool:
    try:
        result = read_json(file)
        is_ours = str(result["schema"]).startswith("vegrt-")
        rows = result["candidates"]
        rows = [row for row in rows if row.get("runtime") != _ANSWERS]  # they are about no artifact
        runtimes = [row.get("runtime") for row in rows if str(row["artifact_sha256"]) not in hashes]
        return is_ours and bool(runtimes) and ({*runtimes} != {_ENGINE_RUNTIME} or len(runtimes) == len(rows))
    except (OSError, FormatError, KeyError, TypeError, AttributeError):
        return False
