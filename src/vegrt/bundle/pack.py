"""Packs a bundle into one file and unpacks it: only listed files are packed, and a bundle appears only once it is verified.

The archive's first member is manifest.json; its sizes and SHA-256 decide which other members are accepted.
docs/bundle-format.md specifies the format.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vegrt.bundle.archive import DAMAGE, Member, Readable, archive_suffix, read_archive, write_archive
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.entries import MANIFEST, RESULT, SIGNATURES, check_relative_path, is_regular, result_names
from vegrt.bundle.manifest import Artifact, Manifest, parse_manifest
from vegrt.errors import BundleError, reason_of
from vegrt.files.atomic import creating, replacing

MAX_MANIFEST_BYTES = 16 << 20
MAX_RESULT_BYTES = 64 << 20  # an evaluation of eight candidates on 100,000 photos has about 30 MB
MAX_RESULTS = 100
_BLOCK = 1 << 20


def pack(bundle: Path, out: Path) -> list[str]:
    """Write a bundle as one .zip or .tar.zst, atomically, and return the names of its members.

    The same bundle gives the same bytes. Raises BundleError for a damaged bundle or an unknown archive format.
    """
    suffix, opened = archive_suffix(out), open_bundle(bundle)
    names = list(packed_names(opened))
    with replacing(out) as temporary:
        write_archive(temporary, suffix, ((name, opened.path_of(name)) for name in names))
        if not opened.is_current():
            raise BundleError(f"{bundle}: changed while it was being packed; pack it again")
    return names


def packed_names(bundle: Bundle) -> Iterator[str]:
    """Yield the names of the files that travel with a bundle: the manifest, its signatures, every artifact, and the results."""
    yield MANIFEST
    yield from (name for name in SIGNATURES if is_regular(bundle.path / name))
    yield from sorted(artifact.path for artifact in bundle.manifest.artifacts)
    yield from result_names(bundle.path)


def unpack(file: Path, out: Path) -> Bundle:
    """Unpack an archive to the new folder `out` and return the bundle.

    Every file is compared with the manifest's SHA-256 before the folder appears, by one rename. Raises BundleError, and leaves
    nothing behind, for a damaged archive or one that `pack` would not have written; VegrtError if `out` is not empty.
    """
    with creating(out) as folder:
        try:
            _extract_all(file, out, folder)
        except DAMAGE as error:
            raise BundleError(f"{file}: damaged archive ({reason_of(error)}); copy or pack it again") from error
    return open_bundle(out, verify=False)


def _extract_all(file: Path, out: Path, folder: Path) -> None:
    members = read_archive(file)
    first = next(members, None)
    if first is None or first.name != MANIFEST or first.size_bytes > MAX_MANIFEST_BYTES:
        raise BundleError(f"{file}: does not begin with {MANIFEST}; expected an archive made by: vegrt bundle pack")
    _write(file, first, folder, first.size_bytes)
    manifest = parse_manifest((folder / MANIFEST).read_bytes(), file)
    _check_space(file, out, manifest)
    _extract(file, members, folder, manifest)


def _extract(file: Path, members: Iterator[Member], folder: Path, manifest: Manifest) -> None:
    artifacts, names, results = {artifact.path: artifact for artifact in manifest.artifacts}, {MANIFEST}, 0
    for member in members:
        name = member.name
        check_relative_path(str(file), name)
        if name in names:
            raise BundleError(f"{file}: {name!r:.200} occurs twice; refused")
        names.add(name)
        if name in artifacts:
            _extract_artifact(file, member, folder, artifacts[name])
        elif name in SIGNATURES or RESULT.fullmatch(name):
            results += name not in SIGNATURES
            if results > MAX_RESULTS or member.size_bytes > MAX_RESULT_BYTES:
                limits = f"{MAX_RESULTS} results and {MAX_RESULT_BYTES >> 20} MiB each"
                raise BundleError(f"{file}: {name!r:.200} exceeds the limits of {limits}; refused")
            _write(file, member, folder, member.size_bytes)
        else:
            raise BundleError(f"{file}: {name!r:.200} is not listed in the manifest; refused")
    if missing := sorted(artifacts.keys() - names):
        raise BundleError(
            f"{file}: {missing[0]} is missing ({len(artifacts)} files are listed in the manifest); copy or pack it again"
        )


def _extract_artifact(file: Path, member: Member, folder: Path, artifact: Artifact) -> None:
    if member.size_bytes != artifact.size_bytes:
        sizes = f"{member.size_bytes} bytes, but {artifact.size_bytes} in the manifest"
        raise BundleError(f"{file}: {artifact.path} has {sizes}; refused")
    if (digest := _write(file, member, folder, artifact.size_bytes)) != artifact.sha256:
        digests = f"sha256 {digest[:12]}…, the manifest lists {artifact.sha256[:12]}…"
        raise BundleError(f"{file}: {artifact.path} is damaged ({digests}); copy or pack it again")


def _write(file: Path, member: Member, folder: Path, size_bytes: int) -> str:
    """Write a member of exactly this size and return its SHA-256, in hex."""
    target = folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as opened:
        digest, missing_bytes = _copy(member.content, opened, size_bytes)
    if missing_bytes or member.content.read(1):
        raise BundleError(
            f"{file}: {member.name!r:.200} does not hold exactly the {size_bytes} bytes of its header; refused"
        )
    return digest


def _copy(source: Readable, target: IO[bytes], size_bytes: int) -> tuple[str, int]:
    """Copy at most `size_bytes` and return their SHA-256, in hex, and the number of missing bytes."""
    digest, missing_bytes = hashlib.sha256(), size_bytes
    while missing_bytes and (block := source.read(min(_BLOCK, missing_bytes))):
        target.write(block)
        digest.update(block)
        missing_bytes -= len(block)
    return digest.hexdigest(), missing_bytes


def _check_space(file: Path, out: Path, manifest: Manifest) -> None:
    needed, free = sum(artifact.size_bytes for artifact in manifest.artifacts), shutil.disk_usage(out.parent).free
    if needed > free:
        raise BundleError(
            f"{file}: needs {needed / 1e6:,.0f} MB, {out.parent} has {free / 1e6:,.0f} MB free; free some space, then repeat it"
        )
