"""Packed bundles: unpacked as the very bundle or refused, and nothing is left outside the folder."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.slow.fuzz.mutate_bytes import mutated_bytes
from tests.slow.fuzz.target import Target
from vegrt.bundle.bundle import open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Manifest
from vegrt.bundle.pack import pack, unpack
from vegrt.errors import DataError, VegrtError
from vegrt.infer.sources.archive import open_archive
from vegrt.photo.contract import Contract

_ZIP = b"PK\x03\x04"
NO_ARCHIVE = (zipfile.BadZipFile, zlib.error, ValueError, LookupError, RuntimeError, EOFError, OSError)


@cache
def packed() -> tuple[str, tuple[bytes, ...]]:
    """Return the hash of a small bundle, and the bundle as .zip and .tar.zst."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "small")
        with changing(path) as staging:
            for number in range(3):
                staging.file(f"golden/{number}.bin").write_bytes(random.Random(number).randbytes(3000))
                staging.add(f"golden/{number}.bin", "golden")
            staging.finish(Manifest("small", ("a", "b"), Contract(), {}))
        files = [Path(name, f"whole{suffix}") for suffix in (".zip", ".tar.zst")]
        for file in files:
            pack(path, file)
        return open_bundle(path).sha256(), tuple(file.read_bytes() for file in files)


def damaged(data: bytes, corpus: Sequence[bytes], draws: random.Random) -> bytes:
    """Damage an archive: half of the time inside, with right checksums around it."""
    import zstandard

    if draws.random() < 0.5:
        return mutated_bytes(data, corpus, draws)
    try:
        if data.startswith(_ZIP):
            return damaged_member(data, corpus, draws)
        content = zstandard.ZstdDecompressor().decompress(data, max_output_size=1 << 20)
        return zstandard.ZstdCompressor(write_checksum=True).compress(mutated_bytes(content, corpus, draws))
    except (*NO_ARCHIVE, zstandard.ZstdError):
        return mutated_bytes(data, corpus, draws)


def damaged_member(data: bytes, corpus: Sequence[bytes], draws: random.Random) -> bytes:
    """Damage the content of one member of a .zip file, or its name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(entry.filename, archive.read(entry)) for entry in archive.infolist()[:64]]
    number = draws.randrange(len(members))
    name, content = members[number]
    if draws.random() < 0.2:
        name = draws.choice(
            ("../x", "/x", "", "a" * 300, "a/" * 4000, "\n", "manifest.json", f"{name}/", f"./{name}", "con", "x\x1b")
        )
    members[number] = (name, mutated_bytes(content, corpus, draws))
    if draws.random() < 0.1:
        members.append(draws.choice(members))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", draws.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return target.getvalue()


def read(data: bytes, folder: Path) -> str:
    """Unpack an archive into a new folder."""
    file, place = folder / f"x{'.zip' if data.startswith(_ZIP) else '.tar.zst'}", folder / "place"
    file.write_bytes(data)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        bundle = unpack(file, place / "out")
        assert [path.name for path in place.iterdir()] == ["out"]
        assert bundle.sha256() == open_bundle(place / "out").sha256()
    except VegrtError:
        assert not list(place.iterdir()), "something is left behind"
        raise
    # whatever was damaged without its hash cannot be unpacked as the same bundle
    return "the whole bundle" if bundle.sha256() == packed()[0] else "another bundle, with hashes of its own"


def photo_archives() -> list[bytes]:
    """Return photos as .zip, .tar and .tar.gz."""
    photos = [(f"Beet/{number}.ppm", b"P6 8 8 255\n" + random.Random(number).randbytes(192)) for number in range(3)]
    buffers = [io.BytesIO() for _ in range(4)]
    for buffer, method in zip(buffers, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), strict=False):
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, content in photos:
                archive.writestr(zipfile.ZipInfo(name), content)
    for buffer, mode in zip(buffers[2:], ("w", "w:gz"), strict=True):
        with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
            for name, content in photos:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return [buffer.getvalue() for buffer in buffers]


def damaged_photos(data: bytes, corpus: Sequence[bytes], draws: random.Random) -> bytes:
    """Damage an archive of photos: half of the time a member of a .zip, or a .tar before it is compressed."""
    try:
        if draws.random() < 0.5 and data.startswith(_ZIP):
            return damaged_member(data, corpus, draws)
        if draws.random() < 0.5 and data.startswith(b"\x1f\x8b"):
            return gzip.compress(mutated_bytes(zlib.decompressobj(31).decompress(data, 1 << 20), corpus, draws), 1)
    except NO_ARCHIVE:
        pass
    return mutated_bytes(data, corpus, draws)


def read_photos(data: bytes, folder: Path) -> str:
    """Read the photos of an archive, as `infer` does; a member that is refused is an item of its own."""
    file = folder / f"x{'.zip' if data.startswith(_ZIP) else '.tar'}"
    file.write_bytes(data)
    items = list(open_archive(file))
    faults = [str(item.content) for item in items if isinstance(item.content, DataError)]
    assert all(len(fault.splitlines()) == 1 and len(fault) < 4000 for fault in faults), faults
    return faults[0].partition(": ")[2] if faults else "read"


TARGETS = (
    Target("archives", lambda base: packed()[1], read, damaged, weight=1.5),
    Target("photo-archives", lambda base: photo_archives(), read_photos, damaged_photos, weight=2.0),
)
