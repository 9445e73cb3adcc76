"""Files that appear whole or not at all, and their fingerprints."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vegrt.errors import VegrtError
from vegrt.files.temporary import make_temporary

# What a terminal acts upon or cannot show: C0, DEL, C1, marks that turn the direction of text (Unicode's Bidi_Control), line and
# paragraph separators, and surrogates, as which Python reads bytes that are no UTF-8.
_CONTROLS = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_UNPRINTABLE = re.compile(f"[\x00-\x1f{_CONTROLS}]")
_UNPRINTABLE_IN_LINES = re.compile(f"[\x00-\x08\x0b-\x1f{_CONTROLS}]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

_OF_WRITING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
)  # a full disk, a limit, a read-only place


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; on success it becomes `path`, on failure it is removed.

    What a process that was killed left of the same is removed first. Raises VegrtError when the folder cannot be written or the
    disk is full, and for an OSError of the block: see `unwritten`.
    """
    temporary, held = _temporary(path, folder=False)
    try:
        with _blaming(path, temporary):
            yield temporary
            share(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(held)


@contextmanager
def creating(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path` to fill; on success it becomes `path` by one rename, on failure it is removed.

    What a process that was killed left of the same is removed first. Raises VegrtError when `path` holds something already, when
    it cannot be written, and for an OSError of the block: see `unwritten`.
    """
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise VegrtError(f"{path}: exists and is not an empty folder; choose another place, or delete it")
    temporary, held = _temporary(path, folder=True)
    try:
        with _blaming(path, temporary):
            yield temporary
            sync_files(temporary)
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(held)


def share(path: Path) -> None:
    """Give a file or folder that was made for its owner alone the rights that the umask leaves others."""
    path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())


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
    """Write `text` as UTF-8 to `path`, atomically; a `?` stands for what is no Unicode, such as of a path in Latin-1."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


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
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError, numbers of thousands of digits
        raise VegrtError(f"{file}: not a TOML {what} ({str(error).splitlines()[0]:.120})") from error


def printable(text: str | Path) -> str:
    """Return a name or a message as one line that is safe on any terminal: control characters are escaped as in Python.

    Bytes of a path that are not UTF-8 are shown as \\xNN. For people: a program gets names as they are, see `as_utf8`.
    """
    shown = os.fspath(text)
    return shown if shown.isprintable() else _UNPRINTABLE.sub(_escaped, shown)


def printable_lines(text: str) -> str:
    """Return text of several lines, with tabs, as `printable` returns one."""
    return _UNPRINTABLE_IN_LINES.sub(_escaped, text)


def as_utf8(path: str | Path) -> str:
    """Return a path as text that UTF-8 can hold, exact but for bytes that are not UTF-8: those are \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def json_text(value: Any) -> str:
    """Return `value` as JSON on one line: readable, exact, and without any raw control character."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if text.isprintable() else _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte, as os.fsdecode returns it
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}")


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


def _temporary(path: Path, *, folder: bool) -> tuple[Path, int]:
    try:
        return make_temporary(path, folder=folder)
    except OSError as error:
        raise VegrtError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
