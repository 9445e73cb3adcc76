"""What may lie in a bundle's folder: plain names, regular files, folders. No links, nothing that leads out of it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vegrt.errors import BundleError

MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
COMMIT = ".commit"
RESULTS = "results"
RESULT = re.compile(rf"{RESULTS}/[A-Za-z0-9_-][A-Za-z0-9._-]*\.json")  # a result file that travels and can be signed
_NAME_BYTES = 255  # of one part of a name, on every file system
_PATH_BYTES = 1024


def check_name(subject: str, name: str) -> None:
    """Raise BundleError unless `name` is a plain relative path: no `..`, no absolute or hidden one, no odd characters."""
    parts = PurePosixPath(name).parts
    odd = any(
        ord(character) < 32 or character in '\\:*?"<>|\x7f' or "\ud800" <= character <= "\udfff" for character in name
    )
    sizes = [len(part.encode("utf-8", "replace")) for part in parts]
    hidden = any(part.startswith(".") for part in parts)
    long = sum(sizes) + len(sizes) > _PATH_BYTES or max(sizes, default=0) > _NAME_BYTES
    if odd or hidden or long or not parts or name.startswith("/") or name != "/".join(parts):
        raise BundleError(f"{subject}: {name!r} is no plain path inside a bundle; refused")


def check_artifact_names(subject: str, names: list[str]) -> None:
    """Raise BundleError unless a manifest may list all of these paths: inside the bundle, not its own files, each once."""
    for name in names:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise BundleError(f"{subject}: artifact path {name!r} leaves the bundle; refused")
        check_name(subject, name)
        if relative.parts[0] in (MANIFEST, SIGNATURE, RESULTS):
            raise BundleError(f"{subject}: artifact path {name!r} is reserved for what no manifest lists; refused")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BundleError(f"{subject}: artifact path {twice!r} is in it twice; refused")


def refuse_links(folder: Path) -> None:
    """Raise BundleError when anything below a bundle's folder is a link, device, pipe or socket.

    folder may be a link itself: its name is the user's, what is in it is not.
    """
    for entry in _walk(folder):
        if not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
            kind = "a link" if entry.is_symlink() else "no regular file"
            if os.path.lexists(entry.path):  # else it was another process's, and is gone
                raise BundleError(
                    f"{entry.path}: {kind}; a bundle holds files and folders only: put the file itself there if you trust it"
                )


def result_names(folder: Path) -> list[str]:
    """Return the names of a bundle's result files, `results/<name>.json`, sorted."""
    found = (f"{RESULTS}/{file.name}" for file in (folder / RESULTS).glob("*.json") if is_regular(file))
    return sorted(name for name in found if RESULT.fullmatch(name))


def is_regular(path: Path) -> bool:
    """Return whether a regular file, and no link to one, is there."""
    return size_of(path) is not None


def size_of(path: Path) -> int | None:
    """Return the bytes of a regular file; None where there is none, or a link."""
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield everything below a folder. What vanishes meanwhile was another process's; what is hidden may be unreadable."""
    waiting = [str(folder)]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                found = list(entries)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if Path(place).relative_to(folder).parts[:1] and Path(place).relative_to(folder).parts[0].startswith("."):
                continue
            raise BundleError(f"{place}: cannot be read ({error.strerror}); make it readable") from error
        yield from found
        waiting += [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]
