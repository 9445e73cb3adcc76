"""Benchmarks from other machines: result files of `vegrt bench`, matched with a bundle by the artifacts' SHA-256."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.errors import FormatError, VegrtError
from vegrt.results.benchmark import Bench
from vegrt.results.files import read_result

log = logging.getLogger(__name__)


def matching_benches(bundle: Bundle, files: Sequence[Path]) -> list[Bench]:
    """Return the benchmarks in `files` that measured artifacts of the bundle, each with the rows of these artifacts only."""
    hashes = {artifact.sha256 for artifact in bundle.manifest.artifacts}
    benches = []
    for file in files:
        bench = read_bench(file)
        rows = tuple(row for row in bench.candidates if row.artifact_sha256 in hashes)
        if left_out := len(bench.candidates) - len(rows):
            log.warning("%s: %d candidates are not artifacts of %s; ignored", file, left_out, bundle.path)
        if rows:
            benches.append(replace(bench, candidates=rows))
    return benches


def read_bench(file: Path) -> Bench:
    """Return a benchmark from its result file. Raises VegrtError when it is missing, damaged or another kind of file."""
    try:
        return read_result(file, Bench)
    except OSError as error:
        raise VegrtError(
            f"{file}: cannot be read ({error.strerror}); expected results/bench.json of `vegrt bench`"
        ) from error
    except FormatError as error:
        raise VegrtError(f"{file}: not a benchmark ({error}); make it: vegrt bench BUNDLE") from error


def check_benches_match(bundles: Sequence[Bundle], files: Sequence[Path]) -> None:
    """Raise VegrtError for a benchmark that measured no artifact of any of these bundles."""
    hashes = {artifact.sha256 for bundle in bundles for artifact in bundle.manifest.artifacts}
    for file in files:
        if not any(row.artifact_sha256 in hashes for row in read_bench(file).candidates):
            names = ", ".join(str(bundle.path) for bundle in bundles)
            raise VegrtError(f"{file}: measured none of the artifacts of {names}; name the bundle that was measured")


def machine_name(bench: Bench) -> str:
    """Return the name of the machine that was measured: its GPU, if one ran, its processor and the number of cores."""
    machine = bench.machine
    processor = machine.cpu if machine.cores is None else f"{machine.cpu}, {machine.cores:g} cores"
    return f"{bench.gpu.name}; {processor}" if bench.gpu and bench.gpu.name else processor
