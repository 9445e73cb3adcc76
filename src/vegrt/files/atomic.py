"""Atomic writes: files and folders that appear complete or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vegrt.errors import VegrtError
from vegrt.files.descriptors import OPEN_FILES_MOVE, exchange, flush
from vegrt.files.temporary import make_temporary, release_temporary
from vegrt.files.text import printable

# errors that only writing raises: disk full, quota or size limit exceeded, read-only file system
_OF_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to; on success it becomes `path`, on failure it is removed.

    Temporary files of `path` that killed processes left are removed first. Raises VegrtError if the folder cannot be written or
    the disk is full, and for an OSError in the block: see `unwritten`.
    """
    temporary, descriptor = _temporary(path, folder=False)
    try:
        with _mapping_errors(path, temporary):
            yield temporary
            share(temporary)
            flush(temporary)
            temporary.replace(path)
    finally:
        with suppress(OSError):  # the next writer of `path` removes it
            temporary.unlink(missing_ok=True)
        release_temporary(temporary, descriptor)


@contextmanager
def creating(path: Path, *, overwrite: bool = False, flushed: bool = True) -> Iterator[Path]:
    """Yield a new folder next to `path` to fill; on success it becomes `path` by one rename, on failure it is removed.

    overwrite: replace a folder that is not empty; the caller decides what may be replaced. flushed: flush every file to disk
    first, which takes minutes for a data set.
    Temporary folders of `path` that killed processes left are removed first. Raises VegrtError if `path` exists and is not an
    empty folder, if it cannot be written, and for an OSError in the block: see `unwritten`.
    """
    replaces = overwrite and path.is_dir() and not path.is_symlink()
    if not replaces and (path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir())))):
        raise _exists(path)
    temporary, descriptor = _temporary(path, folder=True)
    try:
        with _mapping_errors(path, temporary):
            yield temporary
            if flushed:
                sync_files(temporary)
            if replaces:
                _replace(temporary, path)
            else:
                _place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        release_temporary(temporary, descriptor)


def _place(folder: Path, path: Path) -> None:
    """Rename `folder` to `path`, where there is nothing or an empty folder."""
    if path.is_dir() and not OPEN_FILES_MOVE:  # Windows renames to no folder, not even to an empty one
        path.rmdir()
    try:
        folder.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster
            raise _exists(path) from error
        raise


def _replace(folder: Path, path: Path) -> None:
    """Rename `folder` to `path`, and delete the folder that was there: in one step, where the system can do that."""
    if exchange(folder, path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    former, descriptor = _temporary(path, folder=True)
    try:
        if not OPEN_FILES_MOVE:
            former.rmdir()
        with suppress(FileNotFoundError):  # another process replaces it too
            path.replace(former)
        try:
            _place(folder, path)
        except (OSError, VegrtError):
            with suppress(OSError):
                former.replace(path)
            raise
    finally:
        shutil.rmtree(former, ignore_errors=True)
        release_temporary(former, descriptor)


def _exists(path: Path) -> VegrtError:
    return VegrtError(f"{path}: exists and is not an empty folder; choose another path, or delete it")


def share(path: Path) -> None:
    """Give a file or folder that only its owner may access the permissions that the umask allows."""
    path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())


def unwritten(path: Path, place: Path, error: OSError) -> VegrtError:
    """Return the VegrtError for an OSError that prevented `path` from being written.

    place: the temporary file or folder that was being filled. The error may come from writing it or from reading a source: the
    file name in the error decides, or an error number that only writing has; otherwise the message names neither.
    """
    cause = error.strerror or str(error) or type(error).__name__
    name = error.filename if isinstance(error.filename, (str, bytes)) else None
    named = Path(os.fsdecode(name)) if name is not None else None
    if error.errno in _OF_WRITING or (named is not None and ({path, place} & {named, *named.parents})):
        return VegrtError(f"{path}: writing failed ({cause}); no partial file was left")
    if named is not None:
        return VegrtError(f"{printable(named)}: cannot be read ({cause}); {path} was not written")
    return VegrtError(f"{path}: was not written ({cause}); no partial file was left")


@contextmanager
def _mapping_errors(path: Path, place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritten(path, place, error) from error


def sync_files(folder: Path) -> None:
    """Flush every file below a folder to disk."""
    for file in folder.rglob("*"):
        if file.is_file():
            flush(file)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically; characters that UTF-8 cannot encode become `?`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


def write_json(path: Path, value: Any, *, max_indented_bytes: int | None = None) -> None:
    """Write `value` as JSON to `path`, atomically; indented, unless that makes more than `max_indented_bytes`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    if max_indented_bytes is not None and len(text) > max_indented_bytes:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _temporary(path: Path, *, folder: bool) -> tuple[Path, int]:
    try:
        return make_temporary(path, folder=folder)
    except OSError as error:
        raise VegrtError(f"{path}: cannot be written ({error.strerror}); choose another path") from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
