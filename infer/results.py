"""Result files: what evaluate and bench write into a bundle's results/ folder, and how others read them.

A result names the SHA-256 of every artifact that it speaks of. When an artifact has changed since, the result is stale and is
not loaded. The schema is specified in docs/results-format.md.
"""

from __future__ import annotations

import datetime
import logging
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vegrt import __version__
from vegrt.bundle import Bundle
from vegrt.errors import FormatError
from vegrt.files import write_json
from vegrt.infer.analysis_schema import CurveFile, RobustnessFile, SensitivityFile
from vegrt.infer.bench_schema import BenchFile
from vegrt.infer.evaluation_schema import EvaluationFile
from vegrt.infer.machine import examine_machine
from vegrt.infer.results_schema import Header
from vegrt.schema import build, read_json

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
SCHEMAS: dict[str, type[Header]] = {
    "vegrt-evaluate": EvaluationFile,
    "vegrt-bench": BenchFile,
    "vegrt-robustness": RobustnessFile,
    "vegrt-sensitivity": SensitivityFile,
    "vegrt-curve": CurveFile,
}
_PACKAGES = ("numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "torch")


def save_result(bundle: Bundle, name: str, body: dict[str, Any]) -> Path:
    """Write results/<name>.json with the common header (schema, bundle, time, machine, versions); return its path."""
    path = bundle.path / "results" / f"{name}.json"
    write_json(path, header(bundle, name) | body)
    return path


def load_result(bundle: Bundle, name: str) -> dict[str, Any] | None:
    """Return results/<name>.json, or None when there is none or when an artifact has changed since it was made.

    What is no such result, by its schema, is ignored like a stale one, with a warning.
    """
    path = bundle.path / "results" / f"{name}.json"
    try:
        result = read_result(path, _schema_of(name))
    except FileNotFoundError:
        return None
    except (OSError, FormatError) as error:
        log.warning("%s: unreadable result (%s); ignored, run it again", path, error)
        return None
    hashes = {row["artifact_sha256"] for row in result["candidates"]}
    if not hashes <= {artifact.sha256 for artifact in bundle.manifest.artifacts}:
        log.warning("%s: made with other artifacts than the bundle holds now; ignored, run it again", path)
        return None
    return result


def read_result(path: Path, schema: str) -> dict[str, Any]:
    """Return a result file's content, of that schema and this version. Raises FormatError, or OSError."""
    found = read_json(path)
    if not isinstance(found, dict) or found.get("schema") != schema:
        said = found.get("schema", "no schema") if isinstance(found, dict) else "no object"
        raise FormatError(f"{said!s:.40}; expected {schema}")
    if found.get("schema_version") != SCHEMA_VERSION or found["schema_version"] is True:
        raise FormatError(f"schema version {found.get('schema_version')!s:.20}; this vegrt reads {SCHEMA_VERSION}")
    build(SCHEMAS[schema], found)
    return found


def header(bundle: Bundle, name: str) -> dict[str, Any]:
    """Return what every result file begins with."""
    return {
        "schema": _schema_of(name),
        "schema_version": SCHEMA_VERSION,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "bundle": {"name": bundle.manifest.name, "sha256": bundle.sha256()},
        "machine": machine(),
        "versions": versions(),
    }


def _schema_of(name: str) -> str:
    return f"vegrt-{name.split('-')[0]}"


def machine() -> dict[str, Any]:
    """Return the processor, the cores that we may use and the platform."""
    found = examine_machine()
    return {"cpu": found.cpu.model, "cores": found.cores, "platform": platform.platform(terse=True)}


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions of vegrt, Python and `packages`; those that are not installed are left out."""
    found = {"vegrt": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
