"""Temporary files and folders, each locked by the process that fills it; an unlocked one was left by a killed process."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from vegrt.files.descriptors import OPEN_FILES_MOVE, open_lock_file, open_unlinked
from vegrt.files.locking import take_lock

_SCRATCH_TRIES = 100
SCRATCH = ".copying"  # folder for what becomes a file of the folder around it
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)  # file system without locks


def make_temporary(path: Path, *, folder: bool) -> tuple[Path, int]:
    """Return a new hidden file or folder next to `path`, and the descriptor that locks it until `release_temporary`.

    Temporary files and folders of `path` that killed processes left are removed first. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix, suffix = _affixes(path, folder)
    _remove_abandoned(path.parent, re.compile(f"{re.escape(prefix)}[0-9a-f]{{8}}{re.escape(suffix)}"))
    while True:
        temporary = path.parent / f"{prefix}{secrets.token_hex(4)}{suffix}"
        temporary.mkdir() if folder else temporary.touch(0o600, exist_ok=False)
        try:
            descriptor = _open_locked(temporary)
        except OSError:
            with suppress(OSError):
                (os.rmdir if folder else os.unlink)(temporary)
            raise
        if descriptor is not None:
            return temporary, descriptor


def release_temporary(temporary: Path, descriptor: int) -> None:
    """Give up the lock of a temporary, which has been renamed or removed."""
    os.close(descriptor)
    if not OPEN_FILES_MOVE:
        with suppress(OSError):  # another process looks whether it was abandoned
            _lock_file(temporary).unlink()


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yield a new empty folder inside `folder`, for a file that is to be moved there; it is deleted at the end.

    It is in `.copying`, so that `folder`, which may hold many files, is not listed. What killed processes left there is removed.
    Raises OSError.
    """
    place = folder / SCRATCH
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(place))
    for remaining in reversed(range(_SCRATCH_TRIES)):
        try:
            temporary, descriptor = make_temporary(place / "copy", folder=True)
            break
        except (FileNotFoundError, FileExistsError):  # another thread or process has just removed `.copying`
            if not remaining:
                raise
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        release_temporary(temporary, descriptor)
        remove_scratch(folder)


@contextmanager
def working_folder(purpose: str) -> Iterator[Path]:
    """Yield a new folder in the system's folder for temporary files, for this user alone; it is deleted at the end.

    purpose: part of its name. Those of the same purpose that killed processes left are removed. Raises OSError.
    """
    folder, descriptor = make_temporary(Path(tempfile.gettempdir()) / f"vegrt-{purpose}", folder=True)
    try:
        folder.chmod(0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        release_temporary(folder, descriptor)


def remove_scratch(folder: Path) -> None:
    """Remove what killed processes left of `scratch` in a folder, as far as that is possible."""
    place = folder / SCRATCH
    with suppress(OSError):
        if not place.is_symlink():
            prefix, suffix = _affixes(place / "copy", folder=True)
            _remove_abandoned(place, re.compile(f"{re.escape(prefix)}[0-9a-f]{{8}}{re.escape(suffix)}"))
            place.rmdir()


def _affixes(path: Path, folder: bool) -> tuple[str, str]:
    """Return prefix and suffix of a temporary name; a file keeps its suffix, because some writers derive the format from it."""
    return (f".{path.name}.", ".tmp") if folder else (f".{path.stem}.", f".tmp{path.suffix}")


def _open_locked(temporary: Path) -> int | None:
    """Return a descriptor that locks the new temporary; None if another process removed it as abandoned before that."""
    try:
        descriptor = _open(temporary)
    except FileNotFoundError:
        return None
    try:
        is_ours = take_lock(descriptor) and temporary.exists()
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return descriptor
        is_ours = False
    if is_ours:
        return descriptor
    os.close(descriptor)
    return None


def _remove_abandoned(folder: Path, pattern: re.Pattern[str]) -> None:
    for name in [name for name in os.listdir(folder) if pattern.fullmatch(name)]:  # noqa: PTH208 (names suffice)
        with suppress(OSError):  # no locks on this file system, or no permission to delete
            descriptor = _open(folder / name)
            is_abandoned = False
            try:
                is_abandoned = take_lock(descriptor)
                if is_abandoned:
                    (shutil.rmtree if (folder / name).is_dir() else os.unlink)(folder / name)
            finally:
                (partial(release_temporary, folder / name) if is_abandoned else os.close)(descriptor)


def _open(temporary: Path) -> int:
    """Return a descriptor of what is locked: the temporary or, where an open file cannot be renamed, a file next to it."""
    return open_unlinked(temporary) if OPEN_FILES_MOVE else open_lock_file(_lock_file(temporary))


def _lock_file(temporary: Path) -> Path:
    return temporary.with_name(f"{temporary.name}.lock")
