"""Atomic changes of a bundle: readers see the whole change or none of it.

A change is staged in `.staging-*` inside the bundle, becomes `.commit` by one rename, and is then moved into place,
manifest last. Whenever the process is killed, either the old bundle or the new one is readable, and the next change finishes
the move (see vegrt.bundle.commit).
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vegrt.bundle import commit
from vegrt.bundle.entries import COMMIT, MANIFEST, refuse_links
from vegrt.bundle.manifest import Artifact, Manifest, Role, read_manifest
from vegrt.bundle.stale_results import stale_results
from vegrt.errors import BundleError
from vegrt.files.atomic import share, sync_files, unwritten, write_json
from vegrt.files.hashing import sha256_of
from vegrt.files.locking import locked
from vegrt.version import __version__

log = logging.getLogger(__name__)


@contextmanager
def exclusive(path: Path, *, make: bool = False) -> Iterator[None]:
    """Lock a bundle for a command that reads it and then changes it; `changing` may be used inside.

    Finishes an interrupted change first. make: create a missing folder. Raises BundleError immediately if another process holds
    the lock, and for a bundle that contains links: a change would write through them.
    """
    with locked(path, make=make):
        refuse_links(path)
        _finish_commit(path)
        yield


@contextmanager
def changing(path: Path) -> Iterator[Staging]:
    """Yield a Staging to put files into; on success all of them appear in the bundle together, on failure none does.

    Read the state to be changed under the same lock: inside this block, or inside an `exclusive` around both.
    Raises BundleError if the bundle cannot be written, or if another process is changing it.
    """
    with exclusive(path, make=True), _alone(path):
        for abandoned in path.glob(".staging-*"):  # by a killed process: a running one would hold the lock
            shutil.rmtree(abandoned, ignore_errors=True)
        with _staging(path) as staging:
            yield staging
        _move_commit(path)


_in_change: set[Path] = set()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Refuse a change nested in another one, which the lock would allow within one thread."""
    resolved = path.resolve()
    if resolved in _in_change:
        raise BundleError(f"{path}: another process is changing it; wait until it has finished")
    _in_change.add(resolved)
    try:
        yield
    finally:
        _in_change.discard(resolved)


@contextmanager
def _staging(path: Path) -> Iterator[Staging]:
    try:
        folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=path))
    except OSError as error:
        raise BundleError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error
    try:
        yield Staging(folder)
        _check_staged(path, folder)
        sync_files(folder)
        share(folder)
        folder.rename(path / COMMIT)
    except OSError as error:
        raise BundleError(f"{unwritten(path, folder, error)}; the bundle is unchanged") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_staged(path: Path, folder: Path) -> None:
    """Refuse files that could not be moved into the bundle, before anything has changed."""
    staged, listed = commit.files_below(folder), _files_listed_in(folder)
    if MANIFEST not in staged or staged - {MANIFEST} - listed.keys():
        raise AssertionError("a staged change consists of the added files and their manifest")
    commit.check_places(path, staged)


@dataclass(slots=True)
class Staging:
    """Files to be added to a bundle. folder: where to write them, under their names in the bundle."""

    folder: Path
    added: list[Artifact] = field(default_factory=list)

    def file(self, name: str) -> Path:
        """Return where to write the file `name`; creates its folders."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def add(self, name: str, role: Role, variant: str = "", details: Mapping[str, Any] | None = None) -> Artifact:
        """Record the staged file `name` as an artifact and return it."""
        file = self.folder / name
        artifact = Artifact(name, role, variant, sha256_of(file), file.stat().st_size, dict(details or {}))
        self.added = [earlier for earlier in self.added if earlier.path != name] + [artifact]
        return artifact

    def finish(self, manifest: Manifest) -> Manifest:
        """Write and return the manifest: `manifest`, with the added artifacts in place of those with the same path.

        An earlier bill of materials is removed: it lists the artifacts as they were before this change.
        """
        replaced = {artifact.path for artifact in self.added}
        unchanged = [
            artifact for artifact in manifest.artifacts if artifact.path not in replaced and artifact.role != "sbom"
        ]
        outdated = {artifact.path for artifact in manifest.artifacts if artifact.role == "sbom"} - replaced
        for name in outdated:
            log.warning("%s listed other artifacts and is removed; make it again: vegrt bundle sbom", name)
        artifacts = (*unchanged, *self.added)
        final = replace(manifest, artifacts=artifacts, tools=manifest.tools | {"vegrt": __version__})
        write_json(self.folder / MANIFEST, final.to_dict())
        return final


def _finish_commit(path: Path) -> None:
    """Move a committed change into place, if there is one. The caller holds the lock. May be repeated."""
    folder = path / COMMIT
    if not os.path.lexists(folder):
        return
    try:
        if not folder.is_dir():
            raise BundleError("not a folder")
        if (folder / MANIFEST).is_file():
            commit.check_commit(path, _files_listed_in(folder))
            log.warning("%s: finishing a change that was interrupted", path)
    except (BundleError, OSError) as error:
        raise BundleError(
            f"{folder}: an interrupted change that cannot be finished ({error}); "
            f"discard it with: rm -r {shlex.quote(str(folder))}"
        ) from error
    _move_commit(path)


def _move_commit(path: Path) -> None:
    try:
        old = _files_listed_in(path)
    except BundleError:  # a damaged manifest lists no files to delete
        old = {}
    new = _files_listed_in(path / COMMIT)
    stale = stale_results(path, {sha256 for _, sha256 in new.values()})
    commit.move(path, [*(old.keys() - new.keys()), *stale])


def _files_listed_in(folder: Path) -> commit.Listed:
    """Return the files that the manifest in a folder lists; none without a manifest. Raises BundleError for a damaged one."""
    manifest = read_manifest(folder)
    return manifest.files() if manifest else {}
