"""Result files in a bundle's results/ folder: how they are written and read (docs/results-format.md).

A result holds the SHA-256 of every artifact that it measured. Once such an artifact has changed, the result is stale and is
not loaded.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from vegrt.bundle.bundle import Bundle, decided_hashes
from vegrt.bundle.entries import is_regular
from vegrt.errors import BundleError, FormatError
from vegrt.files.atomic import write_json
from vegrt.files.locking import queued
from vegrt.results.common import CandidateRow
from vegrt.results.convert import AnyResult, R, from_dict, to_dict
from vegrt.results.evaluation import Evaluation
from vegrt.results.predictions import MAX_INLINE_PHOTOS, remove_unused, store_predictions, tables_of
from vegrt.schema import parse_json, read_bytes

log = logging.getLogger(__name__)

_MAX_INDENTED_BYTES = 4_000_000


def save_result(bundle: Bundle, name: str, result: AnyResult, *, max_inline_photos: int = MAX_INLINE_PHOTOS) -> Path:
    """Write results/<name>.json and return its path. max_inline_photos: see `vegrt.results.predictions`.

    A file of more than 4 MB is written without indentation.
    Raises BundleError when a measured artifact was replaced during the measurement: the figures may be of the old or the new one.
    """
    _check_current(bundle, name, result)
    path = bundle.path / "results" / f"{name}.json"
    with queued(path.parent):  # of two evaluations of a name, the files of one remain
        _check_current(bundle, name, result)
        if isinstance(result, Evaluation):
            result = store_predictions(path, result, max_inline=max_inline_photos)
        write_json(path, to_dict(result), max_indented_bytes=_MAX_INDENTED_BYTES)
        if isinstance(result, Evaluation):
            remove_unused(path, result)
        try:  # a change that was committed in this moment has deleted the stale results, perhaps before this one was there
            _check_current(bundle, name, result)
        except BundleError:
            for file in (path, *tables_of(path)):
                file.unlink(missing_ok=True)
            raise
    return path


def _check_current(bundle: Bundle, name: str, result: AnyResult) -> None:
    """Raise BundleError if an artifact that was measured is not in the bundle, or leaves it with a change that is committed."""
    if not bundle.is_current() and not _measured_hashes(result) <= decided_hashes(bundle.path):
        raise BundleError(f"{bundle.path}: was changed while results/{name}.json was measured; repeat the command")


def load_result(bundle: Bundle, kind: type[R], name: str) -> R | None:
    """Return results/<name>.json as `load_stored` does; None also when any of its artifacts has changed since the measurement."""
    result = load_stored(bundle, kind, name)
    if result is not None and not _measured_hashes(result) <= _artifact_hashes(bundle):
        path = bundle.path / "results" / f"{name}.json"
        log.warning("%s: measured on artifacts that have changed since; ignored, run it again", path)
        return None
    return result


def load_stored(bundle: Bundle, kind: type[R], name: str) -> R | None:
    """Return results/<name>.json whatever it measured, or None when it is missing.

    For a bundle that was opened with a public key: None also when the signature does not cover this version of the file. A file
    that is no result of this kind is ignored, with a warning.
    """
    path = bundle.path / "results" / f"{name}.json"
    try:
        content = _trusted(bundle, path)
        return None if content is None else parse_result(content, kind)
    except FileNotFoundError:
        return None
    except (OSError, FormatError) as error:
        log.warning("%s: unreadable result (%s); ignored, run it again", path, error)
        return None


def read_result(path: Path, kind: type[R]) -> R:
    """Return a result file's content, as `parse_result` does. Raises OSError as well."""
    return parse_result(read_bytes(path), kind)


def parse_result(content: bytes, kind: type[R]) -> R:
    """Return the content of a result file of this kind. Raises FormatError."""
    return from_dict(kind, parse_json(content))


def _trusted(bundle: Bundle, path: Path) -> bytes | None:
    """Return a result file's bytes; None, with a warning, if it is a link or if the required signature does not cover it."""
    if path.exists() and not is_regular(path):
        log.warning("%s: not a regular file; ignored", path)
        return None
    content, signed = read_bytes(path), bundle.signed
    if signed is None or signed.results.get(f"results/{path.name}") == hashlib.sha256(content).hexdigest():
        return content
    reason = "written or changed after signing" if signed.version > 1 else "the signature has format 1"
    log.warning("%s: not covered by the signature of key %s (%s); ignored", path, signed.fingerprint, reason)
    return None


def _measured_hashes(result: AnyResult) -> set[str]:
    return {row.artifact_sha256 for row in result.candidates if not (isinstance(row, CandidateRow) and row.is_answers)}


def _artifact_hashes(bundle: Bundle) -> set[str]:
    return {artifact.sha256 for artifact in bundle.manifest.artifacts}
