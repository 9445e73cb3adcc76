"""The bundle: one folder per trained model, verified by SHA-256 when it is opened, never a pickle.

Opening writes nothing, takes no lock and follows no link. vegrt.bundle.change changes a bundle; docs/bundle-format.md specifies
the format.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vegrt.bundle import commit
from vegrt.bundle.entries import COMMIT, MANIFEST, is_regular, refuse_links, size_of
from vegrt.bundle.external_data import check_no_weight_file, check_self_contained
from vegrt.bundle.manifest import Artifact, Manifest, Role, parse_manifest
from vegrt.errors import BundleError
from vegrt.files.hashing import sha256_of
from vegrt.machine import available_cores

log = logging.getLogger(__name__)

_TRIES, _PAUSE_S = 200, 0.02  # of a reader, while another process changes the bundle


@dataclass(frozen=True, slots=True)
class Signed:
    """A verified signature. key: file of the public key (PEM). results: SHA-256 of the result files that it covers, by name."""

    key: Path
    fingerprint: str
    version: int
    results: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk, opened and verified.

    digest: SHA-256 of the manifest's bytes, in hex. in_commit: whether it is the new state of an unfinished change.
    state: the folder's state when it was read. signed: the verified signature, if one was required; results that it does not
    cover are then ignored.
    """

    path: Path
    manifest: Manifest
    digest: str = ""
    in_commit: bool = False
    state: commit.State = field(default=(), repr=False, compare=False)
    signed: Signed | None = None

    def artifact(self, role: Role, variant: str = "") -> Artifact:
        """Return the artifact with this role and variant. Raises a BundleError that names the command to make it."""
        for artifact in self.manifest.artifacts:
            if (artifact.role, artifact.variant) == (role, variant):
                return artifact
        if role == "weights":
            raise BundleError(
                f"{self.path}: no checkpoint for torch, the bundle was made from an ONNX file; use --runtime onnxruntime"
            )
        variants = ", ".join(self.variants()) or "none"
        raise BundleError(
            f"{self.path}: no {f'{variant} {role}'.strip()} (variants: {variants}); "
            f"make it with: vegrt export {self.path} --data DATA"
        )

    def has(self, role: Role) -> bool:
        """Return whether the bundle has an artifact with this role."""
        return any(artifact.role == role for artifact in self.manifest.artifacts)

    def file(self, role: Role, variant: str = "") -> Path:
        """Return the path of an artifact. Raises BundleError if it is missing, or is a model that reads other files."""
        file = self.path_of(self.artifact(role, variant).path)
        if role in ("model", "source"):
            check_self_contained(file)
        elif role == "mnn":
            check_no_weight_file(file)
        return file

    def listed_file(self, name: str) -> Path:
        """Return the path of the artifact file `name`. Raises BundleError when the manifest does not list it."""
        if all(artifact.path != name for artifact in self.manifest.artifacts):
            raise BundleError(f"{self.path}: {name!r} is not listed in the manifest; refused")
        return self.path_of(name)

    def path_of(self, name: str) -> Path:
        """Return the path of a listed file: in the bundle, or in `.commit` while a change is unfinished."""
        staged = self.path / COMMIT / name
        return staged if self.in_commit and is_regular(staged) else self.path / name

    def is_current(self) -> bool:
        """Return whether the bundle is unchanged since it was opened, so that its files still match its manifest."""
        return not self.state or commit.state_of(self.path) == self.state

    def variants(self) -> tuple[str, ...]:
        """Return the variants of the bundle's ONNX models, in the manifest's order."""
        return tuple(artifact.variant for artifact in self.manifest.artifacts if artifact.role == "model")

    def sha256(self) -> str:
        """Return the SHA-256 of the manifest, in hex: it identifies the bundle, because the manifest covers every artifact."""
        return self.digest or sha256_of(self.path / MANIFEST)


def open_bundle(path: Path, *, verify: bool = True) -> Bundle:
    """Return the bundle at `path`. Writes nothing.

    verify: compare every artifact with its SHA-256. While another process changes the bundle, the result is the old or the new
    one. Raises BundleError for a bundle that is missing, damaged, of a newer format, or holds a link.
    """
    for _ in range(_TRIES):
        before = commit.state_of(path)
        try:
            bundle = _read(path, before, verify)
        except BundleError:
            if commit.state_of(path) == before:
                raise
        else:
            if commit.state_of(path) == before:
                return bundle
        time.sleep(_PAUSE_S)
    raise BundleError(
        f"{path}: changed during each of {_TRIES} reads; wait until no other process changes it, then repeat the command"
    )


def _read(path: Path, state: commit.State, verify: bool) -> Bundle:
    """Return the bundle in its current state; during an unfinished change, the side that is complete."""
    sides = _sides(path, state)
    if not verify:
        return sides[0]
    first: BundleError | None = None
    for bundle in sides:
        try:
            check_files(bundle)
            return bundle
        except BundleError as error:
            first = first or error
    assert first is not None, "there is at least one side"
    raise first


def _sides(path: Path, state: commit.State) -> list[Bundle]:
    """Return the bundle at `path`; during an unfinished change both sides, the one to read first at the front.

    Raises BundleError if there is no bundle.
    """
    has_new, has_old = MANIFEST in (commit.staged_files(path) or ()), os.path.lexists(path / MANIFEST)
    if not (has_old or has_new):
        fault = "a folder without manifest.json" if path.is_dir() else "no such folder"
        raise BundleError(f"{path}: {fault}; expected a bundle, made by: vegrt train --data DATA --out {path}")
    refuse_links(path)
    if not has_old:
        return [_side(path, state, in_commit=True)]
    old = _side(path, state, in_commit=False)
    try:
        new = _side(path, state, in_commit=True) if has_new else None
    except BundleError as error:  # not a change of this bundle, or a writer has just moved it
        if not isinstance(error.__cause__, FileNotFoundError):
            log.warning("%s; reading the bundle's old state", error)
        new = None
    if new is None:
        return [old]
    return [new, old] if commit.is_begun(path, old.manifest.files(), new.manifest.files()) else [old, new]


def _side(path: Path, state: commit.State, *, in_commit: bool) -> Bundle:
    folder = path / COMMIT if in_commit else path
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(f"{folder / MANIFEST}: cannot be read ({error.strerror}); make it readable") from error
    return Bundle(path, parse_manifest(content, folder), hashlib.sha256(content).hexdigest(), in_commit, state)


def decided_hashes(path: Path) -> set[str]:
    """Return the SHA-256 of the artifacts of a bundle, in hex; those of the new state as soon as a change is committed."""
    for _ in range(_TRIES):
        before = commit.state_of(path)
        sides = _sides(path, before)
        if commit.state_of(path) == before:
            new = [side for side in sides if side.in_commit] or sides
            return {artifact.sha256 for artifact in new[0].manifest.artifacts}
        time.sleep(_PAUSE_S)
    raise BundleError(
        f"{path}: changed during each of {_TRIES} reads; repeat the command when no other process changes it"
    )


def check_files(bundle: Bundle) -> None:
    """Raise BundleError unless every artifact has the size and SHA-256 that the manifest lists."""
    with ThreadPoolExecutor(available_cores()) as pool:  # hashing releases the interpreter lock
        list(pool.map(partial(check_artifact, bundle), bundle.manifest.artifacts))


def check_artifact(bundle: Bundle, artifact: Artifact) -> None:
    """Raise BundleError unless the artifact's file exists and has the size and SHA-256 that the manifest lists."""
    file = bundle.path_of(artifact.path)
    size = size_of(file)
    if size is None:
        raise BundleError(
            f"{file}: missing from the bundle; restore it, or make it with: vegrt export {bundle.path} --data DATA"
        )
    if size != artifact.size_bytes:
        raise _damage(file, f"{size} bytes", f"{artifact.size_bytes} bytes")
    try:
        digest = sha256_of(file)
    except OSError as error:
        raise BundleError(f"{file}: cannot be read ({error.strerror}); make it readable or restore it") from error
    if digest != artifact.sha256:
        raise _damage(file, f"sha256 {digest[:12]}…", f"{artifact.sha256[:12]}…")


def _damage(file: Path, actual: str, expected: str) -> BundleError:
    return BundleError(f"{file}: damaged ({actual}, the manifest lists {expected}); restore it or export again")


def find_bundles(root: Path) -> list[Path]:
    """Return the bundles directly under `root`, sorted by name. Hidden folders are skipped: they are still being written."""
    if not root.is_dir():
        return []
    folders = sorted(folder for folder in root.iterdir() if not folder.name.startswith("."))
    return [
        folder for folder in folders if any(is_regular(folder / name) for name in (MANIFEST, f"{COMMIT}/{MANIFEST}"))
    ]
