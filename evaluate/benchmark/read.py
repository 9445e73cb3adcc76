"""Reading benchmark results for a comparison: the timings of one measure, and the circumstances of the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import open_bundle
from vegrt.errors import FormatError, VegrtError
from vegrt.evaluate.benchmark.statistics import to_array
from vegrt.results.benches import MergedBench, read_benches
from vegrt.results.benchmark import Bench, Measure, Noise
from vegrt.results.bundle_results import log_ignored
from vegrt.results.files import read_result


@dataclass(frozen=True, slots=True)
class CaseSamples:
    """The timings of one candidate at one batch size. samples_ms: (rounds,), NaN for rounds that the case skipped.

    run: the result file that holds them, where several files are read as one.
    """

    key: str
    batch: int
    artifact_sha256: str
    p50_ms: float
    samples_ms: NDArray[np.float64]
    run: str = ""


@dataclass(frozen=True, slots=True)
class BenchSamples:
    """The timings of one measure in a benchmark result.

    cases: by key and batch size. circumstances: settings and machine, by name, as text. noise: None if the file does not say.
    """

    path: Path
    created: str
    bundle: str
    interleaved: bool
    circumstances: dict[str, str]
    cases: dict[tuple[str, int], CaseSamples]
    noise: Noise | None = None

    @property
    def summary(self) -> str:
        """Return the candidates and batch sizes as text."""
        keys, batches = (list(dict.fromkeys(parts)) for parts in zip(*self.cases, strict=True))
        return f"{', '.join(map(str, keys))} at batch {', '.join(map(str, batches))}"


def read_bench(path: Path) -> MergedBench:
    """Return the benchmark in a result file, or all of a bundle's on the machine of its bench.json as one.

    Raises VegrtError for a missing file, a file that is no benchmark result, and a bundle whose artifacts have changed since.
    """
    if path.is_dir():
        bundle = open_bundle(path, verify=False)
        benches, ignored = read_benches(bundle)
        log_ignored(bundle, ignored)
        if not benches:
            raise VegrtError(f"{path}: no benchmark of its present artifacts; make it: vegrt bench {path}")
        return benches[0]
    try:
        return MergedBench(read_result(path, Bench))
    except OSError as error:
        raise VegrtError(f"{path}: cannot be read ({error.strerror}); expected a result file of vegrt bench") from error
    except FormatError as error:
        raise VegrtError(f"{path}: not a benchmark result ({error}); run vegrt bench again") from error


def read_samples(path: Path, measure: Measure) -> BenchSamples:
    """Return the timings of one measure in the file or bundle that `read_bench` reads. Raises VegrtError when it has none."""
    merged = read_bench(path)
    bench = merged.bench
    try:
        cases = {(case.key, case.batch): case for case in _cases(merged, measure)}
    except FormatError as error:
        raise VegrtError(f"{path}: damaged benchmark result ({error}); run vegrt bench again") from error
    if not cases:
        raise VegrtError(f"{path}: has no timings of {measure}; choose another --measure")
    interleaved = bench.scenario == "interleaved"
    return BenchSamples(path, bench.created, bench.bundle.name, interleaved, _circumstances(bench), cases, bench.noise)


def _cases(merged: MergedBench, measure: Measure) -> Iterator[CaseSamples]:
    for row in merged.bench.candidates:
        for timing in row.timings(measure):
            place = f"{row.key} at {timing.batch}"
            if timing.samples_ms is None:
                raise FormatError("has no samples_ms", place)
            samples = to_array(timing.samples_ms)
            timed = samples[~np.isnan(samples)]
            if not len(timed) or not ((timed > 1e-9) & (timed < 1e12)).all():
                raise FormatError("has invalid samples_ms", place)
            run = merged.runs.get((row.key, timing.batch), "")
            yield CaseSamples(row.key, timing.batch, row.artifact_sha256, float(np.median(timed)), samples, run)


def _circumstances(bench: Bench) -> dict[str, str]:
    machine, gpu = bench.machine, bench.gpu
    values: dict[str, object] = {
        "CPU": f"{machine.cpu}, {machine.cores or 0:g} cores",
        "platform": machine.platform or "unknown",
        "GPU": bench.gpu_name or "none",
        "GPU driver": (gpu and gpu.driver) or "none",
        "threads": "unknown" if bench.threads is None else bench.threads,
        "scenario": bench.scenario or "unknown",
        "images": bench.images_source or "unknown",
        "photos": bench.photos_source or "unknown",
        "bundle": f"{bench.bundle.name} {bench.bundle.sha256[:12]}",
    }
    values |= {f"{package} version": version for package, version in bench.versions.items()}
    devices = ", ".join(sorted({row.device for row in bench.candidates}))
    return {name: str(value) for name, value in values.items()} | {"device": devices}
