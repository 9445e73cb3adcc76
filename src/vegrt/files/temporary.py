"""Temporary files and folders, each locked by the process that fills it: what nobody holds was left by one that was killed."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

_UNKNOWN = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)  # a file system without such locks
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def make_temporary(path: Path, *, folder: bool) -> tuple[Path, int]:
    """Return a new hidden file or folder beside `path`, and the descriptor that holds it until it is closed.

    What killed processes left of the same is removed first. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    begin, end = _name(path, folder)
    _remove_abandoned(path.parent, re.compile(f"{re.escape(begin)}[0-9a-f]{{8}}{re.escape(end)}"))
    while True:
        temporary = path.parent / f"{begin}{secrets.token_hex(4)}{end}"
        temporary.mkdir() if folder else temporary.touch(0o600, exist_ok=False)
        descriptor = _held(temporary)
        if descriptor is not None:
            return temporary, descriptor


def _name(path: Path, folder: bool) -> tuple[str, str]:
    """Return what a temporary name begins and ends with: a file's suffix stays, writers choose a format by it."""
    return (f".{path.name}.", ".tmp") if folder else (f".{path.stem}.", f".tmp{path.suffix}")


def _held(temporary: Path) -> int | None:
    """Return a descriptor that holds what we made; None when another process, which cleans up, was faster than our lock."""
    try:
        descriptor = os.open(temporary, _FLAGS)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNKNOWN:
            return descriptor
        os.close(descriptor)
        return None
    if temporary.exists():
        return descriptor
    os.close(descriptor)
    return None


def _remove_abandoned(folder: Path, pattern: re.Pattern[str]) -> None:
    for name in [name for name in os.listdir(folder) if pattern.fullmatch(name)]:  # noqa: PTH208 - names are enough
        with suppress(OSError):  # held by its owner, or not ours to delete
            descriptor = os.open(folder / name, _FLAGS)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (shutil.rmtree if (folder / name).is_dir() else os.unlink)(folder / name)
            finally:
                os.close(descriptor)
