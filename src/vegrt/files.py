"""Files that appear whole or not at all, and their fingerprints."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vegrt.errors import VegrtError

_OF_WRITING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
)  # a full disk, a limit, a read-only place


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; on success it becomes `path`, on failure it is removed.

    Raises VegrtError when the folder cannot be written or the disk is full, and for an OSError of the block: see `unwritten`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".tmp{path.suffix}", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise VegrtError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    temporary = Path(name)
    try:
        with _blaming(path, temporary):
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def creating(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path` to fill; on success it becomes `path` by one rename, on failure it is removed.

    Raises VegrtError when `path` holds something already, when it cannot be written, and for an OSError of the block: see
    `unwritten`.
    """
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise VegrtError(f"{path}: exists and is not an empty folder; choose another place, or delete it")
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise VegrtError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    try:
        with _blaming(path, temporary):
            yield temporary
            sync_files(temporary)
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unwritten(path: Path, place: Path, error: OSError) -> VegrtError:
    """Return why `path` was not written, for an OSError of whatever filled `place`, a file or folder that was to become it.

    It may be of writing there, or of reading a source: the error's own file name tells, else its number where that is of
    writing only. Where neither tells, nothing is blamed.
    """
    cause = error.strerror or str(error) or type(error).__name__
    name = error.filename if isinstance(error.filename, (str, bytes)) else None
    named = Path(os.fsdecode(name)) if name is not None else None
    if error.errno in _OF_WRITING or (named is not None and ({path, place} & {named, *named.parents})):
        return VegrtError(f"{path}: writing failed ({cause}); nothing was left half-written")
    if named is not None:
        return VegrtError(f"{printable(named)}: cannot be read ({cause}); {path} was not written")
    return VegrtError(f"{path}: was not written ({cause}); nothing was left half-written")


@contextmanager
def _blaming(path: Path, place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritten(path, place, error) from error


def sync_files(folder: Path) -> None:
    """Have the disk hold every file below a folder before this returns."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path`, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_toml(file: Path, what: str) -> dict[str, Any]:
    """Return a TOML file's values. what: the file's purpose, for messages. Raises VegrtError when it cannot be read."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # here, because an edge box has no need of it
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise VegrtError(f"{file}: {what} cannot be read ({error.strerror})") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise VegrtError(f"{file}: not a TOML {what} ({error})") from error


def printable(path: Path) -> str:
    """Return a path as text that any encoding can hold: bytes that are not UTF-8 are shown as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(file)


def sha256_of_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form (sorted keys, no spaces), in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _sha256(file: Any) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
