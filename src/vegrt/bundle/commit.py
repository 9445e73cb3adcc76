"""`.commit`, a bundle's committed but unfinished change: which state a reader sees, and how a writer finishes it.

The files of a change are moved out of `.commit` one by one, dropped files are deleted, and the manifest is moved last. A
process killed in between leaves a mixture of old and new files. A reader writes nothing: it uses the old manifest as long as
every file that it lists is in place; otherwise the new one, whose files are in `.commit` or already in place. Only a writer,
which holds the bundle's lock, finishes the change.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from vegrt.bundle.entries import COMMIT, MANIFEST, is_regular, size_of
from vegrt.errors import BundleError
from vegrt.files.hashing import sha256_of

Listed = Mapping[str, tuple[int, str]]  # size in bytes and SHA-256, by path: Manifest.files
State = tuple[object, ...]


def state_of(path: Path) -> State:
    """Return the folder's state, which every change of the bundle alters: equal states mean that nothing changed."""
    commit = path / COMMIT
    return _identity(path / MANIFEST), _identity(commit), _identity(commit / MANIFEST), staged_files(path)


def staged_files(path: Path) -> frozenset[str] | None:
    """Return the names of the files in `.commit`, including its manifest; None if it is missing or unreadable."""
    commit = path / COMMIT
    if commit.is_symlink() or not os.access(commit, os.R_OK | os.X_OK):
        return None
    return files_below(commit)


def files_below(folder: Path) -> frozenset[str]:
    """Return the names of the files below a folder, with slashes."""
    files = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    return frozenset(file.relative_to(folder).as_posix() for file in files)


def is_begun(path: Path, old: Listed, new: Listed) -> bool:
    """Return whether files of the change were already moved or dropped: then the new manifest is valid, not the old one."""
    staged = staged_files(path) or frozenset()
    moved = any(name not in staged for name, entry in new.items() if old.get(name) != entry)
    dropped = any(size_of(path / name) != size for name, (size, _) in old.items())
    files = {name: path / COMMIT / name if name in staged else path / name for name in new}
    return (moved or dropped) and all(size_of(files[name]) == size for name, (size, _) in new.items())


def check_commit(path: Path, new: Listed) -> None:
    """Raise BundleError unless `.commit` and the files already in place are exactly those in its manifest, by SHA-256."""
    staged = (staged_files(path) or frozenset()) - {MANIFEST}
    if surplus := sorted(staged - new.keys()):
        raise BundleError(f"{surplus[0]!r} is not listed in its manifest")
    for name, (size, sha256) in new.items():
        file = path / COMMIT / name if name in staged else path / name
        if size_of(file) != size or sha256_of(file) != sha256:
            raise BundleError(f"{file} differs from its entry in the manifest")


def check_places(path: Path, names: Iterable[str]) -> None:
    """Raise BundleError unless each file can be moved into the bundle: nothing but a file is replaced, parents are folders."""
    for name in names:
        target = path / name
        above = [folder for folder in target.parents if path in folder.parents]
        blocked = [folder for folder in above if os.path.lexists(folder) and not _is_folder(folder)]
        if blocked or (os.path.lexists(target) and not is_regular(target)):
            raise BundleError(f"{(blocked or [target])[0]}: blocks a file of the bundle; move it away")


def move(path: Path, stale: Iterable[str]) -> None:
    """Move the files of `.commit`, delete those named in `stale`, and last move the manifest. The caller holds the lock.

    A `.commit` without a manifest is finished: its manifest has been moved.
    """
    commit, staged = path / COMMIT, staged_files(path) or frozenset()
    try:
        if MANIFEST in staged:
            check_places(path, staged)
            for name in sorted(staged - {MANIFEST}):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (commit / name).replace(path / name)
            for name in stale:
                _delete(path, name)
            (commit / MANIFEST).replace(path / MANIFEST)
        shutil.rmtree(commit)
    except OSError as error:
        raise BundleError(
            f"{path}: an interrupted change cannot be finished ({error.strerror}); make the folder writable"
        ) from error


def _delete(path: Path, name: str) -> None:
    """Delete a regular file of the bundle, never through a link."""
    target = path / name
    above = [folder for folder in target.parents if path in folder.parents]
    if is_regular(target) and all(_is_folder(folder) for folder in above):
        target.unlink()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
