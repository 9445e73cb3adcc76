"""Benchmarks from other machines: result files of `vegrt bench`, matched with a bundle by the artifacts' SHA-256."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.read import read_bench
from vegrt.results.benchmark import Bench
from vegrt.results.bundle_results import ignored_sentence
from vegrt.results.rows import row_key, split_rows

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BenchFile:
    """A benchmark and its file."""

    path: Path
    bench: Bench


def read_bench_files(paths: Sequence[Path]) -> tuple[BenchFile, ...]:
    """Return the benchmarks in these files. Raises VegrtError as `read_bench` does."""
    return tuple(BenchFile(path, read_bench(path).bench) for path in paths)


def matching_benches(bundle: Bundle, files: Sequence[BenchFile]) -> list[Bench]:
    """Return the benchmarks that measured artifacts of the bundle, each with the rows of these artifacts only."""
    benches = []
    for file in files:
        rows, ignored = split_rows(bundle, file.path.name, file.bench.candidates)
        if ignored:
            log.warning("%s: %s", file.path, ignored_sentence(ignored))
        if rows:
            named = tuple(replace(row, key=row_key(bundle, row)) for row in rows)
            benches.append(replace(file.bench, candidates=named))
    return benches


def check_benches_match(bundles: Sequence[Bundle], files: Sequence[BenchFile]) -> None:
    """Raise VegrtError for a benchmark that did not measure any artifact of these bundles."""
    hashes = {artifact.sha256 for bundle in bundles for artifact in bundle.manifest.artifacts}
    for file in files:
        if not any(row.artifact_sha256 in hashes for row in file.bench.candidates):
            names = ", ".join(str(bundle.path) for bundle in bundles)
            raise VegrtError(
                f"{file.path}: a benchmark of other artifacts than those of {names}; name the bundle that it measured"
            )


def machine_name(bench: Bench) -> str:
    """Return the name of the machine that was measured: its GPU, if one ran, its processor and the number of cores."""
    machine = bench.machine
    processor = machine.cpu if machine.cores is None else f"{machine.cpu}, {machine.cores:g} cores"
    return f"{bench.gpu_name}; {processor}" if bench.gpu_name else processor
