"""Images in .zip and .tar archives, read one after the other and never unpacked to disk.

Archives are untrusted: links are refused, no member takes more than MAX_BYTES of memory, and damage ends the archive but not
the run.
"""

from __future__ import annotations

import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, cast

from vegrt.dataset.walk import is_photo_path
from vegrt.errors import DataError, reason_of
from vegrt.files.text import as_utf8, printable
from vegrt.infer.decode.item import Content, Item

MAX_BYTES = 1 << 27  # of one encoded image
_LINK = 0o12  # of the Unix file types, in a zip's external attributes
# Exceptions of a damaged archive while it is opened and read; zipfile and tarfile document the first two only.
_DAMAGE: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError),
    *(ValueError, LookupError, RuntimeError, NotImplementedError),
)


def open_archive(path: Path) -> Iterator[Item]:
    """Return the images in an archive, as `archive.zip!/inner/name.jpg`, in its order. Raises DataError if it holds none.

    A member that is a link, encrypted or too large is one item, its error; so is the rest of a damaged archive.
    """
    items = _guarded(path, _zip_items if path.name.lower().endswith(".zip") else _tar_items)
    first = next(items, None)
    if first is None:
        raise DataError(f"{printable(path)}: holds no images; expected image files in the archive")
    return chain((first,), items)


def _guarded(path: Path, read: Callable[[Path], Iterator[Item]]) -> Iterator[Item]:
    try:
        yield from read(path)
    except _DAMAGE as error:
        name = as_utf8(path)
        yield Item(name, DataError(f"{name}: damaged archive, the rest of it is lost ({reason_of(error)})"))


def _zip_items(path: Path) -> Iterator[Item]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and is_photo_path(entry.filename):
                name = _inside(path, entry.filename)
                yield Item(name, _zip_content(archive, entry, name))


def _zip_content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Content:
    if entry.external_attr >> 28 == _LINK:
        return DataError(f"{name}: a link; refused")
    if entry.flag_bits & 1:
        return DataError(f"{name}: encrypted; refused")
    if entry.file_size > MAX_BYTES:  # as its header says; reading is bounded too
        return _too_large(name)
    try:
        with archive.open(entry) as content:
            return _bounded(content, name)
    except _DAMAGE as error:
        return DataError(f"{name}: damaged member ({reason_of(error)})")


def _tar_items(path: Path) -> Iterator[Item]:
    with tarfile.open(path, "r:*") as archive:
        archive.fileobj = cast("IO[bytes]", _Limited(cast("IO[bytes]", archive.fileobj)))
        while (entry := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # else tarfile keeps every header in memory
            name = _inside(path, entry.name)
            if not is_photo_path(entry.name) or entry.isdir():
                continue
            yield Item(name, _tar_content(archive, entry, name))


def _tar_content(archive: tarfile.TarFile, entry: tarfile.TarInfo, name: str) -> Content:
    if entry.isreg() and entry.size > MAX_BYTES:
        return _too_large(name)
    content = archive.extractfile(entry) if entry.isreg() else None
    return _bounded(content, name) if content else DataError(f"{name}: not a regular file; refused")


def _bounded(content: IO[bytes], name: str) -> bytes | DataError:
    read = content.read(MAX_BYTES + 1)
    return read if len(read) <= MAX_BYTES else _too_large(name)


def _too_large(name: str) -> DataError:
    return DataError(f"{name}: more than {MAX_BYTES >> 20} MiB; refused")


class _Limited:
    """The file below a tarfile: a header extension may claim any length, and tarfile would take it all into memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_BYTES + 1:
            raise EOFError(f"a header claims {size:,} bytes")
        return self._file.read(size)


def _inside(path: Path, member: str) -> str:
    return f"{as_utf8(path)}!/{member.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')}"
