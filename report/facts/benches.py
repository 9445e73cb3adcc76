"""Benchmarks from other machines: result files of `vegrt bench`, read for a bundle that holds what they measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vegrt.bundle.bundle import Bundle
from vegrt.errors import FormatError, VegrtError
from vegrt.results.files import read_result_dict

log = logging.getLogger(__name__)

_SCHEMA = "vegrt-bench"


def benches_of(bundle: Bundle, files: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the benchmarks in `files`, each with the rows of artifacts that the bundle holds; none where it has no such row."""
    held = {artifact.sha256 for artifact in bundle.manifest.artifacts}
    found = []
    for file in files:
        bench = read_bench(file)
        rows = [row for row in bench["candidates"] if row["artifact_sha256"] in held]
        if left_out := len(bench["candidates"]) - len(rows):
            log.warning("%s: %d candidates are not of %s; left out", file, left_out, bundle.path)
        if rows:
            found.append(bench | {"candidates": rows})
    return found


def read_bench(file: Path) -> dict[str, Any]:
    """Return a benchmark's content. Raises VegrtError when it is missing, damaged or something else."""
    try:
        return read_result_dict(file, _SCHEMA)
    except OSError as error:
        raise VegrtError(
            f"{file}: cannot be read ({error.strerror}); expected results/bench.json of `vegrt bench`"
        ) from error
    except FormatError as error:
        raise VegrtError(f"{file}: not a benchmark ({error}); make it: vegrt bench BUNDLE") from error


def check_used(bundles: Sequence[Bundle], files: Sequence[Path]) -> None:
    """Raise VegrtError when a benchmark speaks of no artifact of any of these bundles."""
    held = {artifact.sha256 for bundle in bundles for artifact in bundle.manifest.artifacts}
    for file in files:
        if not any(row["artifact_sha256"] in held for row in read_bench(file)["candidates"]):
            names = ", ".join(str(bundle.path) for bundle in bundles)
            raise VegrtError(f"{file}: measured none of the artifacts of {names}; name the bundle that was measured")


def machine_name(bench: dict[str, Any]) -> str:
    """Return the device that was measured, as people call it."""
    machine, gpu = bench["machine"], bench.get("gpu")
    name = f"{machine['cpu']}, {machine['cores']:g} cores" if "cores" in machine else str(machine["cpu"])
    called = gpu.get("name") if isinstance(gpu, dict) else None
    return f"{called}; {name}" if called else name
