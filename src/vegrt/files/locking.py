"""Locks that end with the process that holds them, however it ends: on a folder that is being changed, or on any open file.

A lock is taken on the file or folder itself, so it leaves no lock file behind (docs/decisions/0022). Readers take none.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vegrt.errors import BundleError

_Key = tuple[int, int]  # device and inode of the folder


@dataclass(slots=True)
class _FolderLock:
    """A lock that this process holds. depth: how often its thread has taken it."""

    descriptor: int
    thread: int
    depth: int = 1


_folder_locks: dict[_Key, _FolderLock] = {}


def take_lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; return False, at once, when another descriptor has the lock.

    Raises OSError on a file system without locks.
    """
    from filelock import lock_descriptor  # here: it takes 30 ms to load, and a command that only reads takes no lock

    return lock_descriptor(descriptor, blocking=False)


@contextmanager
def locked(path: Path, *, make: bool = False) -> Iterator[None]:
    """Lock a folder against other processes and threads that change it; the thread that holds it may take it again.

    make: make a missing folder. Raises BundleError, at once, when the lock is taken.
    """
    descriptor = _open(path, make)
    key = _key(descriptor)
    lock = _folder_locks.get(key)
    if lock is not None and lock.thread == threading.get_ident():
        os.close(descriptor)
        lock.depth += 1
    else:
        _lock(path, descriptor)
        lock = _folder_locks[key] = _FolderLock(descriptor, threading.get_ident())
    try:
        yield
    finally:
        lock.depth -= 1
        if not lock.depth and _folder_locks.get(key) is lock:
            del _folder_locks[key]
            os.close(lock.descriptor)


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
        is_ours = take_lock(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise BundleError(
            f"{path}: cannot be locked ({error.strerror}); work on a copy on a disk of this machine"
        ) from error
    if not is_ours:
        os.close(descriptor)
        raise BundleError(f"{path}: another process is changing it; wait until that is done")


def _key(descriptor: int) -> _Key:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _forget() -> None:
    """Close a forked child's copies of its parent's descriptors: with them the child would hold the locks after its parent."""
    for lock in _folder_locks.values():
        with suppress(OSError):
            os.close(lock.descriptor)
    _folder_locks.clear()


os.register_at_fork(after_in_child=_forget)
