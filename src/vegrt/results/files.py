"""Result files: what evaluate and bench write into a bundle's results/ folder, and how others read them.

A result names the SHA-256 of every artifact that it speaks of. When an artifact has changed since, the result is stale and is
not loaded. The schema is specified in docs/results-format.md.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.entries import is_regular
from vegrt.errors import BundleError, FormatError
from vegrt.files.atomic import write_json
from vegrt.machine import examine_machine
from vegrt.results.analysis import CurveFile, RobustnessFile, SensitivityFile
from vegrt.results.benchmark import BenchFile
from vegrt.results.common import Header
from vegrt.results.evaluation import EvaluationFile
from vegrt.schema import build, parse_json, read_bytes
from vegrt.version import __version__

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
    """Write results/<name>.json with the common header (schema, bundle, time, machine, versions); return its path.

    Raises BundleError when what was measured was replaced meanwhile: nobody knows which of the two it was.
    """
    if not bundle.is_current() and not _hashes(body) <= _held(open_bundle(bundle.path, verify=False)):
        raise BundleError(f"{bundle.path}: was changed while results/{name}.json was measured; repeat the command")
    path = bundle.path / "results" / f"{name}.json"
    write_json(path, header(bundle, name) | body)
    return path


def load_result(bundle: Bundle, name: str) -> dict[str, Any] | None:
    """Return results/<name>.json, or None when there is none or when an artifact has changed since it was made.

    Of a bundle that was opened with a public key, None as well when its signature does not cover this very file. What is no such
    result, by its schema, is ignored like a stale one, with a warning.
    """
    path = bundle.path / "results" / f"{name}.json"
    try:
        content = _counting(bundle, path)
        if content is None:
            return None
        result = parse_result(content, _schema_of(name))
    except FileNotFoundError:
        return None
    except (OSError, FormatError) as error:
        log.warning("%s: unreadable result (%s); ignored, run it again", path, error)
        return None
    if not _hashes(result) <= _held(bundle):
        log.warning("%s: made with other artifacts than the bundle holds now; ignored, run it again", path)
        return None
    return result


def _counting(bundle: Bundle, path: Path) -> bytes | None:
    """Return a result file's bytes; None when it is a link, or when the signature that was asked for does not cover it."""
    if path.exists() and not is_regular(path):
        log.warning("%s: no regular file; ignored", path)
        return None
    content, signed = read_bytes(path), bundle.signed
    if signed is None or signed.results.get(f"results/{path.name}") == hashlib.sha256(content).hexdigest():
        return content
    since = "made or changed after it" if signed.version > 1 else "it is of format 1"
    log.warning("%s: not covered by the signature of key %s (%s); ignored", path, signed.fingerprint, since)
    return None


def _hashes(body: dict[str, Any]) -> set[str]:
    return {row["artifact_sha256"] for row in body["candidates"]}


def _held(bundle: Bundle) -> set[str]:
    return {artifact.sha256 for artifact in bundle.manifest.artifacts}


def read_result(path: Path, schema: str) -> dict[str, Any]:
    """Return a result file's content, as `parse_result` does. Raises OSError as well."""
    return parse_result(read_bytes(path), schema)


def parse_result(content: bytes, schema: str) -> dict[str, Any]:
    """Return the content of a result file, of that schema and this version. Raises FormatError."""
    found = parse_json(content)
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
