"""Copies of the photos themselves: sorted into one folder per predicted class, or with the answer drawn on them.

Every copy is a new file under the photo's own name. It never replaces another file; a repeated run makes the same files again.
"""

from __future__ import annotations

import errno
import filecmp
import io
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import count
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

import numpy as np
from PIL import Image

from vegrt.errors import DataError, VegrtError
from vegrt.files.temporary import scratch
from vegrt.files.text import printable
from vegrt.infer.decode.item import Item
from vegrt.infer.decode.pipeline import Decoded
from vegrt.infer.outputs.rows import AnswerRow, RowFormat
from vegrt.machine import available_cores

log = logging.getLogger(__name__)

_LONGEST_NAME = 255  # bytes, on nearly every file system
_LONGEST_SUFFIX = 16  # what is longer is no suffix but a name with a dot in it
# Errors that one photo or its name causes. None: an encoder raised an OSError of its own.
_PHOTO_ERRORS = frozenset({None, errno.ENOENT, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})


@dataclass(frozen=True, slots=True)
class PhotoOutputs:
    """Folders for the copies; None for none."""

    annotate: Path | None = None
    sort_into: Path | None = None

    @property
    def any(self) -> bool:
        """Return whether there is anything to do."""
        return self.annotate is not None or self.sort_into is not None

    def check(self) -> None:
        """Raise VegrtError, before any work, for a folder that cannot be written."""
        for folder in filter(None, (self.annotate, self.sort_into)):
            check_folder(folder)

    def make(self, batch: Decoded, rows: list[AnswerRow], row_format: RowFormat) -> None:
        """Copy the readable photos of a batch; a photo that is gone costs a warning. Raises VegrtError for a folder."""
        if not self.any:
            return
        answered = [(item, row) for item, row in zip(batch.items, rows, strict=True) if row.ranked]
        if (folder := self.sort_into) is not None:
            for item, row in answered:
                try_copy(folder, item, partial(sort_into, folder, item, row.label))
        if (folder := self.annotate) is not None:
            with ThreadPoolExecutor(available_cores()) as pool:  # decoding and encoding release Python's lock
                futures = [
                    pool.submit(try_copy, folder, item, partial(annotate, folder, item, row, row_format))
                    for item, row in answered
                ]
            for future in futures:
                future.result()


def try_copy(folder: Path, item: Item, copy: Callable[[], Path]) -> Path | None:
    """Make one copy and return its path. A fault of the photo, its name or an encoder costs a warning, and None is returned.

    Raises VegrtError for a fault of the folder.
    """
    try:
        return copy()
    except VegrtError as error:
        if not isinstance(error, DataError):
            raise
        _warn(item, error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in _PHOTO_ERRORS:
            where = printable(folder)
            raise VegrtError(
                f"{where}: writing failed ({error.strerror or error}); make room, then repeat the command"
            ) from error
        _warn(item, error)
    return None


def _warn(item: Item, error: Exception) -> None:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    log.warning("%s: could not be copied (%s)", item.name, " ".join(reason.split()) or type(error).__name__)


def sort_into(folder: Path, item: Item, label: str) -> Path:
    """Link or copy the item's photo into `folder`/<label>/ under its own name and return its path. A video frame becomes a PNG.

    Raises VegrtError when it cannot be written, OSError when the photo is gone.
    """
    target = folder / class_folder(label)
    if target.is_symlink():
        raise VegrtError(f"{target}: a link; expected a real folder in {folder}; remove the link")
    name = file_name(item) + (".png" if isinstance(item.content, np.ndarray) else "")
    return write_unique(target, name, item.name, partial(_write_photo, item))


def class_folder(label: str) -> str:
    """Return a class's name as the name of one folder: `a/b` is a%2Fb, `..` is %2E. A hash ends a name that is cut."""
    name = "".join(quote(char, safe="") if char in "/\\%\0" or ord(char) < 32 else char for char in label)
    name = name.replace(".", "%2E", 1) if name.startswith(".") else name or "%"
    if len(os.fsencode(name)) <= _LONGEST_NAME:
        return name
    added = f"-{_digest(label)}"
    return f"{_cut(name, _LONGEST_NAME - len(added))}{added}"


def _write_photo(item: Item, target: Path) -> None:
    content = item.content
    if isinstance(content, Path):
        real = content.resolve(strict=True)  # a link to a link would break when the first is moved
        try:
            os.link(real, target)
        except FileNotFoundError:
            raise
        except OSError:  # another disk, too many links, or a system that forbids links to others' files
            shutil.copyfile(real, target)
    else:
        write_content(item, target)


def write_content(item: Item, target: Path) -> None:
    """Write a copy of the item's photo to `target`; a video frame as PNG."""
    content = item.content
    if isinstance(content, Path):
        shutil.copyfile(content, target)
    elif isinstance(content, bytes):
        target.write_bytes(content)
    elif isinstance(content, np.ndarray):
        encoded = io.BytesIO()  # in memory: an encoder that writes the file hides errors of the system
        Image.fromarray(content).save(encoded, "PNG")
        target.write_bytes(encoded.getbuffer())


def annotate(folder: Path, item: Item, row: AnswerRow, row_format: RowFormat) -> Path:
    """Write a copy of the photo with the answer drawn on it into `folder` and return its path: see `annotated`."""
    from vegrt.infer.outputs.annotate import annotated

    name, encoded = annotated(item, file_name(item), row, row_format)
    return write_unique(folder, name, item.name, lambda file: file.write_bytes(encoded))


def file_name(item: Item) -> str:
    """Return an item's own name, without folders, archive or host."""
    if isinstance(item.content, Path):
        return item.content.name
    name = unquote(urlsplit(item.name).path) if "://" in item.name else item.name
    return PurePosixPath(name).name or "image"


def check_folder(folder: Path) -> None:
    """Make a folder. Raises VegrtError unless files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with scratch(folder):
            pass
    except OSError as error:
        raise VegrtError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error


def write_unique(folder: Path, name: str, source: str, write: Callable[[Path], object]) -> Path:
    """Let `write` make a file, move it into `folder` under a free name, and return its path.

    name: the preferred name. If another file has it, or it is too long, a hash of `source` is added before the suffix; if a file
    with the same content has it, nothing changes. Raises OSError, and the errors of `write`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with scratch(folder) as place:
        temporary = place / "copy"
        write(temporary)
        for target in _free_names(folder, name, source):
            try:
                os.link(temporary, target)  # unlike a rename it never replaces a file
                return target
            except OSError:  # the name is taken, or the file system has no hard links
                if not os.path.lexists(target):
                    temporary.rename(target)
                    return target
                if _is_same(temporary, target):
                    return target
    raise AssertionError("there is always another name")


def _free_names(folder: Path, name: str, source: str) -> Iterator[Path]:
    path = PurePosixPath(name)
    stem, suffix = (path.stem, path.suffix) if len(path.suffix) <= _LONGEST_SUFFIX else (name, "")
    digest = _digest(source)
    if len(os.fsencode(name)) <= _LONGEST_NAME:
        yield folder / name
    for number in count(1):
        added = f"-{digest}{f'-{number}' if number > 1 else ''}{suffix}"
        yield folder / f"{_cut(stem, _LONGEST_NAME - len(os.fsencode(added)))}{added}"


def _digest(text: str) -> str:
    return blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()


def _cut(stem: str, longest: int) -> str:
    """Return the beginning of a name that takes at most so many bytes."""
    while len(os.fsencode(stem)) > longest and stem:
        stem = stem[:-1]
    return stem


def _is_same(file: Path, target: Path) -> bool:
    return target.is_file() and (file.samefile(target) or filecmp.cmp(file, target, shallow=False))
