"""Locks on a folder that is being changed, or on any open file; the system releases them when the process ends, however it ends.

A lock is taken on the file or folder itself, so there is no lock file to leave behind (docs/decisions/0022). Readers take none.
Windows opens no folders: there, `.lock` in the folder is locked, and removed with the lock.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vegrt.errors import BundleError
from vegrt.files.descriptors import OPEN_FILES_MOVE, open_folder_to_lock

_Key = tuple[int, int]  # device and inode of the folder, or of its lock file
_LOCK_FILE = ".lock"
_PAUSE_S = 0.01


@dataclass(slots=True)
class _FolderLock:
    """A lock that this process holds. depth: how many times its thread has taken it."""

    descriptor: int
    thread: int
    depth: int = 1


_folder_locks: dict[_Key, _FolderLock] = {}


def take_lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; return False immediately if another descriptor holds the lock.

    Raises OSError on a file system without locks.
    """
    from filelock import (
        lock_descriptor,
    )  # imported here: it takes 30 ms to load, and commands that only read need no lock

    return lock_descriptor(descriptor, blocking=False)


@contextmanager
def locked(path: Path, *, make: bool = False) -> Iterator[None]:
    """Lock a folder against changes by other processes and threads; the thread that holds the lock may take it again.

    make: create a missing folder. Raises BundleError immediately if the lock is taken.
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
            _close(path, lock.descriptor)


@contextmanager
def queued(folder: Path, *, limit_s: float = 30.0) -> Iterator[None]:
    """Wait for the lock of a folder that others hold for moments only, and make the folder if it is missing.

    Where the file system has no locks, nothing is locked. Raises BundleError if the folder cannot be made or opened, and after
    `limit_s` of waiting.
    """
    descriptor = _open(folder, make=True)
    try:
        end = time.monotonic() + limit_s
        while not _taken_or_unsupported(descriptor):
            if time.monotonic() > end:
                raise BundleError(f"{folder}: another process is changing it; wait until it has finished")
            time.sleep(_PAUSE_S)
        yield
    finally:
        _close(folder, descriptor)


def _taken_or_unsupported(descriptor: int) -> bool:
    try:
        return take_lock(descriptor)
    except OSError:
        return True


def _open(path: Path, make: bool) -> int:
    try:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        return open_folder_to_lock(path, _LOCK_FILE)
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
        raise BundleError(f"{path}: cannot be locked ({error.strerror}); work on a copy on a local disk") from error
    if not is_ours:
        os.close(descriptor)
        raise BundleError(f"{path}: another process is changing it; wait until it has finished")


def _close(path: Path, descriptor: int) -> None:
    os.close(descriptor)
    if not OPEN_FILES_MOVE:
        with suppress(OSError):  # the next process has already opened it
            (path / _LOCK_FILE).unlink()


def _key(descriptor: int) -> _Key:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _drop_inherited_locks() -> None:
    """Close a forked child's copies of its parent's descriptors: they would keep the locks after the parent exits."""
    for lock in _folder_locks.values():
        with suppress(OSError):
            os.close(lock.descriptor)
    _folder_locks.clear()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_drop_inherited_locks)
