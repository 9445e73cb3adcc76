"""The bundle: one directory per trained model, written atomically, verified by SHA-256 on open, never a pickle.

A change is staged in `.staging-*` inside the bundle, becomes `.commit` by one rename, and is then moved into place with
the manifest last. Killed at any moment, that leaves either the old bundle or the new one for whoever opens it, and the next
change finishes the move (see vegrt.bundle.commit). Opening writes nothing, takes no lock and follows no link.
The format is specified in docs/bundle-format.md.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from vegrt.bundle import commit
from vegrt.bundle.entries import COMMIT as COMMIT
from vegrt.bundle.entries import MANIFEST as MANIFEST
from vegrt.bundle.entries import SIGNATURE as SIGNATURE
from vegrt.bundle.entries import check_artifact_names, is_regular, refuse_links, size_of
from vegrt.bundle.external_data import check_self_contained
from vegrt.bundle.manifest_schema import check_manifest
from vegrt.bundle.stale_results import stale_results
from vegrt.errors import BundleError, FormatError
from vegrt.files.atomic import sha256_of, share, sync_files, unwritten, write_json
from vegrt.files.locking import locked
from vegrt.photo.preprocess import Contract
from vegrt.schema import Count, Label, Sha256, build, parse_json
from vegrt.version import __version__

FORMAT = "vegrt-bundle"
FORMAT_VERSION = 1
log = logging.getLogger(__name__)

_TRIES, _PAUSE_S = 200, 0.02  # of a reader that a change overtook

Role = Literal["weights", "source", "model", "calibration", "engine", "audit", "timing", "golden"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a bundle. path: relative, with slashes. variant: fp32, fp16, int8, int8-cpu, or empty."""

    path: str
    role: Role
    variant: Label
    sha256: Sha256
    size_bytes: Count
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Listed:
    artifacts: tuple[Artifact, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself.

    model: how to build the network (backbone, head). training, calibration, data, tools: provenance, as JSON values.
    """

    name: str
    classes: tuple[str, ...]
    contract: Contract
    model: dict[str, Any]
    artifacts: tuple[Artifact, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        body = {key: getattr(self, key) for key in ("name", "model", "data", "training", "calibration", "tools")}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "classes": list(self.classes),
            "contract": self.contract.to_dict(),
            "artifacts": [asdict(artifact) for artifact in self.artifacts],
            **body,
        }


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that was checked. key: the public key's file (PEM). results: SHA-256 by name of the result files it covers."""

    key: Path
    fingerprint: str
    version: int
    results: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk, opened and verified.

    digest: SHA-256 of the manifest's bytes, in hex. in_commit: it is the new state of a change that is not finished yet.
    state: of the folder when it was read. signed: its signature, where one was asked for: then only results that it covers count.
    """

    path: Path
    manifest: Manifest
    digest: str = ""
    in_commit: bool = False
    state: commit.State = field(default=(), repr=False, compare=False)
    signed: Signed | None = None

    def artifact(self, role: Role, variant: str = "") -> Artifact:
        """Return the artifact of that role and variant. Raises BundleError that names the command to make it."""
        for artifact in self.manifest.artifacts:
            if (artifact.role, artifact.variant) == (role, variant):
                return artifact
        if role == "weights":
            raise BundleError(
                f"{self.path}: no checkpoint in it, it was made from an ONNX file; torch cannot run it, use --runtime onnxruntime"
            )
        have = ", ".join(self.variants()) or "none"
        wanted = f"{variant} {role}".strip()
        raise BundleError(
            f"{self.path}: no {wanted} in it (variants: {have}); make it: vegrt export {self.path} --data DATA"
        )

    def has(self, role: Role) -> bool:
        """Return whether the bundle holds an artifact of that role."""
        return any(artifact.role == role for artifact in self.manifest.artifacts)

    def file(self, role: Role, variant: str = "") -> Path:
        """Return the path of an artifact. Raises BundleError when the bundle lacks it, or when its ONNX file reads others."""
        file = self.place(self.artifact(role, variant).path)
        if role in ("model", "source"):
            check_self_contained(file)
        return file

    def listed(self, name: str) -> Path:
        """Return where the file of that name lies. Raises BundleError when the manifest does not list it."""
        if all(artifact.path != name for artifact in self.manifest.artifacts):
            raise BundleError(f"{self.path}: {name!r} is in no list of the manifest; refused")
        return self.place(name)

    def place(self, name: str) -> Path:
        """Return where a listed file lies: in the bundle or, of a change that is not finished, still in `.commit`."""
        staged = self.path / COMMIT / name
        return staged if self.in_commit and is_regular(staged) else self.path / name

    def is_current(self) -> bool:
        """Return whether nobody has changed the bundle since it was opened, so that its files are still those of its manifest."""
        return not self.state or commit.state_of(self.path) == self.state

    def variants(self) -> tuple[str, ...]:
        """Return the variants that the bundle holds as ONNX models, in order of the manifest."""
        return tuple(artifact.variant for artifact in self.manifest.artifacts if artifact.role == "model")

    def sha256(self) -> str:
        """Return the SHA-256 of the manifest, which covers every artifact: the bundle's identity, in hex."""
        return self.digest or sha256_of(self.path / MANIFEST)


def open_bundle(path: Path, *, verify: bool = True) -> Bundle:
    """Return the bundle at `path`; with `verify`, after comparing every artifact with its SHA-256. Writes nothing.

    While another process changes it, that is the old or the new bundle. Raises BundleError when it is missing, damaged, of a
    newer format, or holds a link.
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
    raise BundleError(f"{path}: changed each of {_TRIES} times it was read; wait until no other process changes it")


def _read(path: Path, state: commit.State, verify: bool) -> Bundle:
    """Return the bundle as it is now; of an unfinished change, the side that is whole."""
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
    """Return the bundle at `path`; of an unfinished change both sides, the one to read first. Raises BundleError for none."""
    has_new, has_old = MANIFEST in (commit.staged_files(path) or ()), os.path.lexists(path / MANIFEST)
    if not (has_old or has_new):
        found = "a folder without manifest.json" if path.is_dir() else "no such folder"
        raise BundleError(f"{path}: {found}; expected a bundle, made by: vegrt train --data DATA --out {path}")
    refuse_links(path)
    if not has_old:
        return [_side(path, state, in_commit=True)]
    old = _side(path, state, in_commit=False)
    try:
        new = _side(path, state, in_commit=True) if has_new else None
    except BundleError as error:  # whatever it is, it is no part of this bundle; a writer may just have moved it
        if not isinstance(error.__cause__, FileNotFoundError):
            log.warning("%s; the bundle is read as it was before", error)
        new = None
    if new is None:
        return [old]
    return [new, old] if commit.is_begun(path, _listed(old.manifest), _listed(new.manifest)) else [old, new]


def _side(path: Path, state: commit.State, *, in_commit: bool) -> Bundle:
    folder = path / COMMIT if in_commit else path
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(f"{folder / MANIFEST}: cannot be read ({error.strerror}); make it readable") from error
    return Bundle(path, parse_manifest(content, folder), hashlib.sha256(content).hexdigest(), in_commit, state)


def check_files(bundle: Bundle) -> None:
    """Raise BundleError unless every artifact has the size and SHA-256 that the manifest states."""
    with ThreadPoolExecutor() as pool:  # hashing leaves Python's lock
        list(pool.map(partial(check_artifact, bundle), bundle.manifest.artifacts))


def check_artifact(bundle: Bundle, artifact: Artifact) -> None:
    """Raise BundleError unless the artifact's file exists with the size and SHA-256 that the manifest states."""
    file = bundle.place(artifact.path)
    size = size_of(file)
    if size is None:
        raise BundleError(f"{file}: missing from the bundle; restore it or run: vegrt export {bundle.path} --data DATA")
    seen, said = f"{size} bytes", f"{artifact.size_bytes} bytes"
    if size == artifact.size_bytes:
        try:
            found = sha256_of(file)
        except OSError as error:
            raise BundleError(f"{file}: cannot be read ({error.strerror}); make it readable or restore it") from error
        if found == artifact.sha256:
            return
        seen, said = f"sha256 {found[:12]}…", f"{artifact.sha256[:12]}…"
    raise BundleError(f"{file}: damaged ({seen}, the manifest says {said}); restore it or export again")


@contextmanager
def exclusive(path: Path, *, make: bool = False) -> Iterator[None]:
    """Hold a bundle for a command that changes it, from before it reads what it will change until it is done.

    Finishes an interrupted change first. `changing` may be used inside. make: make the folder when it is not there.
    Raises BundleError, at once, when another process holds the bundle; and for a bundle with links, through which we would write.
    """
    with locked(path, make=make):
        refuse_links(path)
        _finish_commit(path)
        yield


@contextmanager
def changing(path: Path) -> Iterator[Staging]:
    """Yield a Staging to put files into; on success they all appear in the bundle at once, on failure none does.

    What is changed must be read under the same lock: read it inside, or hold `exclusive` around both.
    Raises BundleError when the bundle cannot be written or when another process is changing it.
    """
    with exclusive(path, make=True), _alone(path):
        for abandoned in path.glob(".staging-*"):  # of a process that was killed: a living one would hold the lock
            shutil.rmtree(abandoned, ignore_errors=True)
        with _staging(path) as staging:
            yield staging
        _move_commit(path)


_in_change: set[Path] = set()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Refuse a change inside a change: the lock lets its own thread in again."""
    place = path.resolve()
    if place in _in_change:
        raise BundleError(f"{path}: another process is changing it; wait until that is done")
    _in_change.add(place)
    try:
        yield
    finally:
        _in_change.discard(place)


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
        raise BundleError(f"{unwritten(path, folder, error)}; the bundle is as it was") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_staged(path: Path, folder: Path) -> None:
    """Refuse, while nothing has happened yet, what could not be moved into the bundle."""
    staged, listed = commit.files_below(folder), _listed_in(folder)
    if MANIFEST not in staged or staged - {MANIFEST} - listed.keys():
        raise AssertionError("a staged change is files that were added, and last their manifest")
    commit.check_places(path, staged)


@dataclass(slots=True)
class Staging:
    """Files on their way into a bundle. folder: where to write them, under the names that they will have."""

    folder: Path
    added: list[Artifact] = field(default_factory=list)

    def file(self, name: str) -> Path:
        """Return where to write the file `name`, its folders made."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def add(self, name: str, role: Role, variant: str = "", details: Mapping[str, Any] | None = None) -> Artifact:
        """Record the staged file `name` as an artifact and return it."""
        file = self.folder / name
        artifact = Artifact(name, role, variant, sha256_of(file), file.stat().st_size, dict(details or {}))
        self.added = [other for other in self.added if other.path != name] + [artifact]
        return artifact

    def finish(self, manifest: Manifest) -> Manifest:
        """Write the manifest: `manifest` with the added artifacts in place of those of the same path. Returns it."""
        names = {artifact.path for artifact in self.added}
        kept = tuple(artifact for artifact in manifest.artifacts if artifact.path not in names)
        final = replace(manifest, artifacts=kept + tuple(self.added), tools=manifest.tools | {"vegrt": __version__})
        write_json(self.folder / MANIFEST, final.to_dict())
        return final


def find_bundles(root: Path) -> list[Path]:
    """Return the bundles directly under `root`, sorted by name. What is hidden is not one: it is a bundle in the making."""
    if not root.is_dir():
        return []
    shown = [folder for folder in root.iterdir() if not folder.name.startswith(".")]
    return sorted(
        folder for folder in shown if any(is_regular(folder / name) for name in (MANIFEST, f"{COMMIT}/{MANIFEST}"))
    )


def parse_manifest(content: bytes, path: Path) -> Manifest:
    """Return the manifest in the bytes of a manifest.json; path: where it is, for messages. Raises BundleError."""
    try:
        return _parse(parse_json(content), path)
    except FormatError as error:
        raise BundleError(f"{path / MANIFEST}: damaged manifest ({error}); restore it or train again") from error


def _parse(value: Any, path: Path) -> Manifest:
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise BundleError(f"{path / MANIFEST}: not the manifest of a vegrt bundle")
    version = value.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        advice = "upgrade vegrt to open it" if type(version) is int and version > FORMAT_VERSION else "export it again"
        raise BundleError(
            f"{path}: bundle format {version!r:.20}, this vegrt {__version__} reads {FORMAT_VERSION}; {advice}"
        )
    check_manifest(value)
    artifacts = build(_Listed, value).artifacts
    check_artifact_names(str(path / MANIFEST), [artifact.path for artifact in artifacts])
    return Manifest(
        name=value["name"],
        classes=tuple(value["classes"]),
        contract=Contract.from_dict(value["contract"]),
        artifacts=artifacts,
        **{key: dict(value[key]) for key in ("model", "data", "training", "calibration", "tools")},
    )


def _finish_commit(path: Path) -> None:
    """Move a committed change into place, if there is one and it is whole. The caller holds the lock. May be repeated."""
    place = path / COMMIT
    if not os.path.lexists(place):
        return
    try:
        if not place.is_dir():
            raise BundleError("it is no folder")
        if (place / MANIFEST).is_file():
            commit.check_commit(path, _listed_in(place))
            log.warning("%s: finishing a change that was interrupted", path)
    except (BundleError, OSError) as error:
        raise BundleError(
            f"{place}: not a change of this bundle that can be finished ({error}); "
            f"to give it up: rm -r {shlex.quote(str(place))}"
        ) from error
    _move_commit(path)


def _move_commit(path: Path) -> None:
    try:
        old = _listed_in(path)
    except BundleError:  # a damaged manifest lists nothing that would have to go
        old = {}
    new = _listed_in(path / COMMIT)
    void = stale_results(path, {sha256 for _, sha256 in new.values()})
    commit.move(path, [*(old.keys() - new.keys()), *void])


def _listed_in(folder: Path) -> commit.Listed:
    """Return what the manifest in a folder lists; nothing where there is none. Raises BundleError for a damaged one."""
    file = folder / MANIFEST
    return _listed(parse_manifest(file.read_bytes(), folder)) if is_regular(file) else {}


def _listed(manifest: Manifest) -> commit.Listed:
    return {artifact.path: (artifact.size_bytes, artifact.sha256) for artifact in manifest.artifacts}
