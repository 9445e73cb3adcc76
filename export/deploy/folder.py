"""The folder that a deployment target writes: what it may replace, the bundle in it, and what is said of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.pack import packed_names
from vegrt.errors import BundleError, VegrtError
from vegrt.files.atomic import creating, write_json
from vegrt.version import __version__

Target = Literal["docker", "huggingface", "kserve", "raspberrypi"]
BUNDLE = "bundle"  # the bundle's folder below that of the target
PUBLIC_KEY = "key.pub"
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755  # the service that reads the copy is another user than the one who writes it


@dataclass(frozen=True, slots=True)
class Deployed:
    """A folder that was written. files: names, sorted. size_bytes: of all files. command: what is to be run next."""

    folder: Path
    files: tuple[str, ...]
    size_bytes: int
    command: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {"folder": str(self.folder), "files": list(self.files)}


def check_replaceable(out: Path, marker: str, subject: str, *, overwrite: bool) -> None:
    """Raise VegrtError if `out` is not empty, unless it is a folder of the same target that may be replaced.

    marker: file by which such a folder is known. subject: what it is, with an article, for messages.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise VegrtError(f"{out}: exists and is not a folder; choose another path")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / marker).is_file():
        raise VegrtError(f"{out}: exists and is not {subject}; choose another path, or delete it")
    if not overwrite:
        raise VegrtError(f"{out}: holds {subject}; choose another path, or replace it with --overwrite")


@contextmanager
def deploying(bundle: Bundle, out: Path, target: Target, *, overwrite: bool) -> Iterator[Path]:
    """Yield a new folder to fill, with a file that names target and bundle; on success it becomes `out` by one rename.

    Raises VegrtError for an `out` that may not be replaced, BundleError for a bundle that changed meanwhile.
    """
    marker = f"{target}.json"
    check_replaceable(out, marker, f"a folder of vegrt deploy {target}", overwrite=overwrite)
    with creating(out, overwrite=overwrite) as folder:
        names = {"target": target, "vegrt": __version__, "bundle": bundle.manifest.name}
        write_json(folder / marker, names | {"bundle_sha256": bundle.sha256()})
        yield folder
        if not bundle.is_current():
            raise BundleError(f"{bundle.path}: changed while it was being copied; repeat the command")


def copy_bundle(bundle: Bundle, folder: Path) -> int:
    """Copy the files of a bundle to `folder`/bundle, readable by every user, and return their size in bytes."""
    top = folder / BUNDLE
    top.mkdir()
    return copy_files(bundle, top)


def copy_files(bundle: Bundle, top: Path) -> int:
    """Copy the files of a bundle into the folder `top`, readable by every user, and return their size in bytes."""
    size_bytes = 0
    for name in packed_names(bundle):
        target = top / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path_of(name), target)
        target.chmod(_FILE_MODE)
        size_bytes += target.stat().st_size
    for path in (top, *(path for path in top.rglob("*") if path.is_dir())):
        path.chmod(_FOLDER_MODE)
    return size_bytes


def copy_key(key: Path | None, folder: Path) -> None:
    """Copy a public key beside the bundle, if there is one."""
    if key is not None:
        shutil.copyfile(key, folder / PUBLIC_KEY)
        (folder / PUBLIC_KEY).chmod(_FILE_MODE)


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Write texts as UTF-8 files; those that begin with `#!` become executable."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(_FOLDER_MODE if text.startswith("#!") else _FILE_MODE)


def contents(out: Path) -> tuple[tuple[str, ...], int]:
    """Return the names of all files of a folder, sorted, and their size in bytes."""
    files = [path for path in out.rglob("*") if path.is_file()]
    return tuple(sorted(path.relative_to(out).as_posix() for path in files)), sum(path.stat().st_size for path in files)


def written(out: Path, command: str) -> Deployed:
    """Return what was written to `out`. command: what is to be run next."""
    return Deployed(out, *contents(out), command)
