"""The bundle: one directory per trained model, written atomically, verified by SHA-256 on open, never a pickle.

A change is staged in `.staging-*` inside the bundle, becomes `.commit` by one rename, and is then moved into place with
the manifest last. Whoever opens a bundle that has a `.commit` finishes that move first, so that a process killed at
any moment leaves either the old bundle or the new one. The format is specified in docs/bundle-format.md.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from vegrt import __version__
from vegrt.errors import BundleError, FormatError
from vegrt.files import sha256_of, sync_files, write_json
from vegrt.manifest_schema import check_manifest
from vegrt.preprocess import Contract
from vegrt.schema import Count, Label, Sha256, build, parse_json

FORMAT = "vegrt-bundle"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
COMMIT = ".commit"

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
class Bundle:
    """A bundle on disk, opened and verified."""

    path: Path
    manifest: Manifest

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
        """Return the path of an artifact. Raises BundleError when the bundle lacks it."""
        return self.path / self.artifact(role, variant).path

    def variants(self) -> tuple[str, ...]:
        """Return the variants that the bundle holds as ONNX models, in order of the manifest."""
        return tuple(artifact.variant for artifact in self.manifest.artifacts if artifact.role == "model")

    def sha256(self) -> str:
        """Return the SHA-256 of the manifest, which covers every artifact: the bundle's identity, in hex."""
        return sha256_of(self.path / MANIFEST)


def open_bundle(path: Path, *, verify: bool = True) -> Bundle:
    """Return the bundle at `path`; with `verify`, after comparing every artifact with its SHA-256.

    Raises BundleError when it is missing, damaged or of a newer format.
    """
    _finish_commit(path)
    file = path / MANIFEST
    if not file.is_file():
        found = "a folder without manifest.json" if path.is_dir() else "no such folder"
        raise BundleError(f"{path}: {found}; expected a bundle, made by: vegrt train --data DATA --out {path}")
    bundle = Bundle(path, parse_manifest(file.read_bytes(), path))
    if verify:
        with ThreadPoolExecutor() as pool:  # hashing leaves Python's lock
            list(pool.map(partial(check_artifact, bundle), bundle.manifest.artifacts))
    return bundle


def check_artifact(bundle: Bundle, artifact: Artifact) -> None:
    """Raise BundleError unless the artifact's file exists with the size and SHA-256 that the manifest states."""
    file = bundle.path / artifact.path
    if not file.is_file():
        raise BundleError(f"{file}: missing from the bundle; restore it or run: vegrt export {bundle.path} --data DATA")
    if file.stat().st_size != artifact.size_bytes or (found := sha256_of(file)) != artifact.sha256:
        seen = f"{file.stat().st_size} bytes" if file.stat().st_size != artifact.size_bytes else f"sha256 {found[:12]}…"
        said = (
            f"{artifact.size_bytes} bytes" if file.stat().st_size != artifact.size_bytes else f"{artifact.sha256[:12]}…"
        )
        raise BundleError(f"{file}: damaged ({seen}, the manifest says {said}); restore it or export again")


@contextmanager
def changing(path: Path) -> Iterator[Staging]:
    """Yield a Staging to put files into; on success they all appear in the bundle at once, on failure none does.

    Raises BundleError when the bundle cannot be written or when another process is changing it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error
    _finish_commit(path)
    with locked(path):
        for abandoned in path.glob(".staging-*"):  # of a process that was killed: a living one would hold the lock
            shutil.rmtree(abandoned, ignore_errors=True)
        with _staging(path) as staging:
            yield staging
        _move_commit(path)


@contextmanager
def _staging(path: Path) -> Iterator[Staging]:
    try:
        folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=path))
    except OSError as error:
        raise BundleError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error
    try:
        yield Staging(folder)
        if not (folder / MANIFEST).is_file():
            raise AssertionError("a staged change ends with its manifest")
        sync_files(folder)
        folder.rename(path / COMMIT)
    except OSError as error:
        raise BundleError(f"{path}: writing failed ({error.strerror or error}); the bundle is as it was") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
    """Return the bundles directly under `root`, sorted by name."""
    return sorted(file.parent for file in root.glob(f"*/{MANIFEST}")) if root.is_dir() else []


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
    for entry in value["artifacts"] if isinstance(value.get("artifacts"), list) else ():
        if isinstance(entry, dict) and _leaves(str(entry.get("path"))):
            raise BundleError(f"{path / MANIFEST}: artifact path {entry['path']!r:.200} leaves the bundle; refused")
    check_manifest(value)
    return Manifest(
        name=value["name"],
        classes=tuple(value["classes"]),
        contract=Contract.from_dict(value["contract"]),
        artifacts=build(_Listed, value).artifacts,
        **{key: dict(value[key]) for key in ("model", "data", "training", "calibration", "tools")},
    )


def _finish_commit(path: Path) -> None:
    """Move a committed change into place, if there is one. Does nothing otherwise; may be repeated."""
    if (path / COMMIT).is_dir():
        with locked(path):
            _move_commit(path)


def _move_commit(path: Path) -> None:
    """Move the files of `.commit`, remove what the change drops, and last move the manifest. The caller holds the lock.

    A `.commit` without a manifest is one whose manifest was moved already: nothing of it is left to do.
    """
    commit = path / COMMIT
    try:
        if (commit / MANIFEST).is_file():
            stale = _listed(path / MANIFEST) - _listed(commit / MANIFEST)
            for file in [file for file in commit.rglob("*") if file.is_file() and file != commit / MANIFEST]:
                target = path / file.relative_to(commit)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
            for name in stale:
                (path / name).unlink(missing_ok=True)
            (commit / MANIFEST).replace(path / MANIFEST)
        shutil.rmtree(commit)
    except OSError as error:
        raise BundleError(
            f"{path}: an interrupted change cannot be finished ({error.strerror}); make it writable"
        ) from error


def _listed(manifest: Path) -> set[str]:
    """Return the artifact paths of a manifest that lie in its bundle; none where there is no readable one."""
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))["artifacts"]
        return {name for entry in entries if not _leaves(name := str(entry["path"]))}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _leaves(name: str) -> bool:
    relative = PurePosixPath(name)
    return relative.is_absolute() or ".." in relative.parts


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a folder against other processes that change it. Raises BundleError when one does already."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise BundleError(f"{path}: another process is changing it; wait until that is done") from error
    finally:
        os.close(descriptor)
