"""One process at a time: a lock on a folder, for whoever changes what is in it. Readers take none.

The lock is of the folder itself (flock): it leaves no file behind and ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vegrt.errors import BundleError

_Key = tuple[int, int]  # device and inode of the folder


@dataclass(slots=True)
class _Lock:
    """A lock that this process holds. depth: how often its thread has taken it."""

    descriptor: int
    thread: int
    depth: int = 1


_held: dict[_Key, _Lock] = {}


@contextmanager
def locked(path: Path, *, make: bool = False) -> Iterator[None]:
    """Hold a folder against other processes and threads that change it; the thread that holds it may take it again.

    make: make the folder when it is not there. Raises BundleError, at once, when another one holds it.
    """
    descriptor = _open(path, make)
    key = _key(descriptor)
    mine = _held.get(key)
    if mine is not None and mine.thread == threading.get_ident():
        os.close(descriptor)
        mine.depth += 1
    else:
        _lock(path, descriptor)
        mine = _held[key] = _Lock(descriptor, threading.get_ident())
    try:
        yield
    finally:
        mine.depth -= 1
        if not mine.depth and _held.get(key) is mine:
            del _held[key]
            os.close(mine.descriptor)


def _open(path: Path, make: bool) -> int:
    try:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(
            f"{path}: no such folder; expected a bundle, made by: vegrt train --data DATA --out {path}"
        ) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error


def _lock(path: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise BundleError(f"{path}: another process is changing it; wait until that is done") from error
        raise BundleError(
            f"{path}: cannot be locked ({error.strerror}); work on a copy on a disk of this machine"
        ) from error


def _key(descriptor: int) -> _Key:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _forget() -> None:
    """Give up, in a forked child, what its parent holds: the lock would outlive the parent with the child."""
    for lock in _held.values():
        with suppress(OSError):
            os.close(lock.descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
