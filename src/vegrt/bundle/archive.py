"""Writes and reads .zip and .tar.zst archives; independent of the bundle format.

The same members give the same bytes: order as given, time zero, mode 0644, no compression in a .zip.
Archives are untrusted input: only regular files are returned, one after another, and never more bytes than the caller
requests.
"""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from vegrt.errors import BundleError, require

SUFFIXES = (".zip", ".tar.zst")
# Exceptions raised on opening or reading a damaged archive; zipfile documents only the first.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.HeaderError,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    LookupError,
    RuntimeError,
)
_BLOCK = 1 << 20
_MODE = 0o100644  # a regular file that its owner may write
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can hold
_WINDOW = (
    1 << 27
)  # largest window of a .tar.zst, in bytes of the reader's memory: that of level 19 and of `zstd --long`
_LEVEL = 10


class Readable(Protocol):
    """An open member, of either format."""

    def read(self, size: int, /) -> bytes:
        """Return at most the next `size` bytes; empty at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive. content: readable until the next member is read."""

    name: str
    size_bytes: int
    content: Readable


def archive_suffix(file: Path) -> str:
    """Return .zip or .tar.zst. Raises BundleError for any other name."""
    for suffix in SUFFIXES:
        if file.name.lower().endswith(suffix):
            return suffix
    raise BundleError(f"{file}: unknown archive format; expected a name that ends in {' or '.join(SUFFIXES)}")


def write_archive(out: Path, suffix: str, members: Iterable[tuple[str, Path]]) -> None:
    """Write files as members with the given names. Raises BundleError for a name that the format cannot store."""
    if suffix == ".zip":
        _write_zip(out, members)
        return
    compressor = require("zstandard", "pack").ZstdCompressor(level=_LEVEL, write_checksum=True)
    with out.open("wb") as raw, compressor.stream_writer(raw) as packed:
        _write_tar(packed, members)


def _write_zip(out: Path, members: Iterable[tuple[str, Path]]) -> None:
    with zipfile.ZipFile(out, "w") as archive:
        for name, file in members:
            entry = zipfile.ZipInfo(name, _EARLIEST)
            entry.create_system, entry.external_attr, entry.file_size = 3, _MODE << 16, file.stat().st_size
            with archive.open(entry, "w") as target, file.open("rb") as source:
                _copy(source, target)


def _write_tar(packed: IO[bytes], members: Iterable[tuple[str, Path]]) -> None:
    with tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
        for name, file in members:
            entry = tarfile.TarInfo(name)
            entry.size = file.stat().st_size
            try:
                with file.open("rb") as source:
                    archive.addfile(entry, source)
            except ValueError as error:
                raise BundleError(f"{name}: a .tar.zst cannot store this name ({error}); pack a .zip") from error


def read_archive(file: Path) -> Iterator[Member]:
    """Yield the members in order. Raises BundleError for a member that is not a regular file, one of DAMAGE for damage."""
    reader = _read_zip if archive_suffix(file) == ".zip" else _read_tar
    if not file.is_file():
        raise BundleError(f"{file}: no such file; expected an archive, made by: vegrt bundle pack BUNDLE {file}")
    yield from reader(file)


def _read_zip(file: Path) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            file_type = entry.external_attr >> 28  # Unix file type; 0 in a zip that was written on another system
            name = entry.orig_filename
            if file_type not in (0, _MODE >> 12) or entry.filename != name or entry.is_dir():
                raise BundleError(
                    f"{file}: {name!r:.200} is not a plain file (it is a link, folder or device); refused"
                )
            if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BundleError(f"{file}: {name!r:.200} is encrypted or has an unknown compression; refused")
            with archive.open(entry) as content:
                yield Member(name, entry.file_size, content)


def _read_tar(file: Path) -> Iterator[Member]:
    """Parse ustar headers here: the tarfile module would also read extension headers, of any length, into memory."""
    zstandard: Any = require("zstandard", "pack")
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    with file.open("rb") as raw, decompressor.stream_reader(raw) as packed:
        stream = _Stream(packed, zstandard.ZstdError)
        while any(header := stream.exactly(tarfile.BLOCKSIZE)):
            entry = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.size < 0:
                raise BundleError(
                    f"{file}: {entry.name!r:.200} is not a plain file (it is a link, folder or device); refused"
                )
            stream.unread_bytes = entry.size
            yield Member(entry.name, entry.size, stream)
            while stream.read(_BLOCK):
                pass  # bytes that the caller did not read
            stream.exactly(-entry.size % tarfile.BLOCKSIZE)
        stream.finish()


class _Stream:
    """A decompressed .tar. unread_bytes: how much of the current member has not been read."""

    def __init__(self, packed: IO[bytes], error: type[Exception]) -> None:
        self._packed, self._error, self.unread_bytes = packed, error, 0

    def read(self, size: int) -> bytes:
        content = self.exactly(min(size, self.unread_bytes))
        self.unread_bytes -= len(content)
        return content

    def finish(self) -> None:
        """Read to the end, where the checksum is verified. Raises EOFError for anything but one tape record of zeros."""
        for _ in range(tarfile.RECORDSIZE // tarfile.BLOCKSIZE):
            if not (block := self._next(tarfile.BLOCKSIZE)):
                return
            if any(block):
                break
        raise EOFError("data after the end of the archive")

    def _next(self, size: int) -> bytes:
        try:
            return self._packed.read(size)
        except self._error as error:
            raise EOFError(str(error)) from error

    def exactly(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            block = self._next(size - len(content))
            if not block:
                raise EOFError("unexpected end of file")
            content += block
        return bytes(content)


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    while block := source.read(_BLOCK):
        target.write(block)
