"""Benchmark results as the comparison reads them: checked where they enter, and how the circumstances of two differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import open_bundle
from vegrt.errors import FormatError, VegrtError
from vegrt.evaluate.benchmark.cases import Measure
from vegrt.evaluate.benchmark.noise import noise_words
from vegrt.evaluate.benchmark.statistics import to_array
from vegrt.results.files import load_result, read_result


@dataclass(frozen=True, slots=True)
class Timing:
    """One candidate at one batch size. samples_ms: (rounds,), NaN where it sat a round out."""

    key: str
    batch: int
    artifact_sha256: str
    p50_ms: float
    samples_ms: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Result:
    """A benchmark result of one measure. timings: by key and batch size. circumstances: what may differ, as text.

    noise: what disturbed it, in words; empty when it was quiet or does not say.
    """

    path: Path
    created: str
    bundle: str
    interleaved: bool
    circumstances: dict[str, str]
    timings: dict[tuple[str, int], Timing]
    noise: str = ""

    @property
    def heading(self) -> dict[str, str]:
        """Return which result it is, as JSON values."""
        return {"path": str(self.path), "created": self.created, "bundle": self.bundle, "noise": self.noise}

    @property
    def summary(self) -> str:
        """Return what it holds, in words."""
        keys, batches = (list(dict.fromkeys(parts)) for parts in zip(*self.timings, strict=True))
        return f"{', '.join(map(str, keys))} at batch {', '.join(map(str, batches))}"


def read_bench(path: Path, measure: Measure) -> Result:
    """Return the result in a file, or of a bundle its results/bench.json unless artifacts have changed since.

    Raises VegrtError for what is no benchmark result of this schema version, or holds no timings of that measure.
    """
    body = _body(path)
    try:
        timings = {(one.key, one.batch): one for one in _timings(body, measure)}
    except FormatError as error:
        raise VegrtError(f"{path}: damaged benchmark result ({error}); run vegrt bench again") from error
    if not timings:
        raise VegrtError(f"{path}: holds no timings of {measure}; choose another --measure")
    interleaved = body.get("scenario") == "interleaved"
    named = body["created"], body["bundle"]["name"]
    return Result(path, *named, interleaved, _circumstances(body), timings, noise_words(body))


def differences(base: Result, new: Result) -> list[dict[str, str]]:
    """Return what differs between two results beside the times: what, in the base, in the new one."""
    names = dict.fromkeys([*base.circumstances, *new.circumstances])
    pairs = ((name, base.circumstances.get(name, "none"), new.circumstances.get(name, "none")) for name in names)
    return [{"what": name, "base": one, "new": other} for name, one, other in pairs if one != other]


def _body(path: Path) -> dict[str, Any]:
    if path.is_dir():
        found = load_result(open_bundle(path, verify=False), "bench")
        if found is None:
            raise VegrtError(f"{path}: no benchmark of what it holds now; make it: vegrt bench {path}")
        return found
    try:
        return read_result(path, "vegrt-bench")
    except OSError as error:
        raise VegrtError(f"{path}: cannot be read ({error.strerror}); expected a result of vegrt bench") from error
    except FormatError as error:
        raise VegrtError(f"{path}: damaged or of another version ({error}); run vegrt bench again") from error


def _timings(body: dict[str, Any], measure: Measure) -> Iterator[Timing]:
    for row in body["candidates"]:
        for point in row.get(measure) or ():
            if point.get("samples_ms") is None:
                raise FormatError("has no samples_ms", f"{row['key']} at {point['batch']}")
            samples = to_array(point["samples_ms"])
            made = samples[~np.isnan(samples)]
            if not len(made) or not ((made > 1e-9) & (made < 1e12)).all():
                raise FormatError("has samples_ms that are no milliseconds", f"{row['key']} at {point['batch']}")
            yield Timing(row["key"], point["batch"], row["artifact_sha256"], float(np.median(made)), samples)


def _circumstances(body: dict[str, Any]) -> dict[str, str]:
    machine, gpu = body["machine"], body.get("gpu") or {}
    found = {
        "CPU": f"{machine['cpu']}, {machine.get('cores', 0):g} cores",
        "platform": machine.get("platform", "unknown"),
        "GPU": gpu.get("name", "none"),
        "GPU driver": gpu.get("driver", "none"),
        "threads": body.get("threads", "unknown"),
        "scenario": body.get("scenario", "unknown"),
        "images": body.get("images_source", "unknown"),
        "photos": body.get("photos_source", "unknown"),
        "bundle": f"{body['bundle']['name']} {str(body['bundle']['sha256'])[:12]}",
    }
    found |= {f"{package} version": version for package, version in body.get("versions", {}).items()}
    devices = {row.get("device", "cpu") for row in body["candidates"]}
    return {name: str(value) for name, value in found.items()} | {"device": ", ".join(sorted(devices))}
