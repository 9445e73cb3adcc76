"""The allowed content of a bundle's folder: regular files and folders with plain names, no links, no paths out of the folder."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vegrt.errors import BundleError

MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
MODEL_SIGNATURE = "model.sig"  # of OpenSSF model signing
SIGNATURES = (SIGNATURE, MODEL_SIGNATURE)  # beside the manifest, not listed in it
SBOM = "sbom.cdx.json"
COMMIT = ".commit"
RESULTS = "results"
_RESULT_NAME = (
    r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.json|evaluate-[A-Za-z0-9._-]+\.parquet"  # the second: answers of many photos
)
RESULT = re.compile(rf"{RESULTS}/(?:{_RESULT_NAME})")  # the result files that are packed and signed
_NAME_BYTES = 255  # of one part of a name, on every file system
_PATH_BYTES = 1024


def check_relative_path(subject: str, name: str) -> None:
    """Raise BundleError unless `name` is a plain relative path: no `..`, not absolute or hidden, no odd characters."""
    parts = PurePosixPath(name).parts
    odd = any(
        ord(character) < 32 or character in '\\:*?"<>|\x7f' or "\ud800" <= character <= "\udfff" for character in name
    )
    sizes = [len(part.encode("utf-8", "replace")) for part in parts]
    hidden = any(part.startswith(".") for part in parts)
    long = sum(sizes) + len(sizes) > _PATH_BYTES or max(sizes, default=0) > _NAME_BYTES
    if odd or hidden or long or not parts or name.startswith("/") or name != "/".join(parts):
        raise BundleError(f"{subject}: {name!r:.200} is not a plain relative path; refused")


def check_artifact_names(subject: str, names: list[str]) -> None:
    """Raise BundleError unless a manifest may list these paths: inside the bundle, not reserved, and without duplicates."""
    for name in names:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise BundleError(f"{subject}: artifact path {name!r:.200} leaves the bundle; refused")
        check_relative_path(subject, name)
        if relative.parts[0] in (MANIFEST, *SIGNATURES, RESULTS):
            raise BundleError(
                f"{subject}: artifact path {name!r:.200} is reserved for a file of vegrt that is not an artifact; refused"
            )
    if len(set(names)) < len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise BundleError(f"{subject}: artifact path {duplicate!r:.200} is listed twice; refused")


def refuse_links(folder: Path) -> None:
    """Raise BundleError if anything below a bundle's folder is a link, device, pipe or socket.

    folder: may itself be a link, because the user named it; its content may come from an untrusted source.
    """
    for entry in _walk(folder):
        if not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
            kind = "a link" if entry.is_symlink() else "not a regular file"
            if os.path.lexists(entry.path):  # otherwise another process created and removed it
                raise BundleError(
                    f"{entry.path}: {kind}; expected files and folders only; if you trust it, replace it with the file itself"
                )


def result_names(folder: Path) -> list[str]:
    """Return the names of a bundle's result files, `results/<name>.json` and `results/evaluate-<name>.parquet`, sorted."""
    names = (f"{RESULTS}/{file.name}" for file in (folder / RESULTS).glob("*") if is_regular(file))
    return sorted(name for name in names if RESULT.fullmatch(name))


def is_regular(path: Path) -> bool:
    """Return whether `path` is a regular file and not a link to one."""
    return size_of(path) is not None


def size_of(path: Path) -> int | None:
    """Return the size of a regular file in bytes; None for a link or a missing file."""
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield all entries below a folder, except those that another process removes meanwhile and unreadable hidden folders."""
    waiting = [str(folder)]
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as scan:
                entries = list(scan)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if "".join(Path(path).relative_to(folder).parts[:1]).startswith("."):
                continue
            raise BundleError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
        yield from entries
        waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
