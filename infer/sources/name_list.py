"""Lists of names, one per line or NUL-terminated, from a file or stdin; of any length, read as they arrive."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from vegrt.errors import DataError

LONGEST_NAME_BYTES = 1 << 16  # 16 times Linux's longest path; a longer name means that the file is not a list
_BLOCK = 1 << 16
_IDLE_S = 0.2  # after so long without input, the names so far are answered


def read_list(file: Path, *, null: bool = False) -> Iterator[str]:
    """Yield the names in a file. Raises DataError when it cannot be read or is not a list."""
    try:
        with file.open("rb") as opened:
            blocks = iter(lambda: opened.read(_BLOCK), b"")
            yield from (name for name in split_names(str(file), blocks, null=null) if name is not None)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error


def read_stdin(*, null: bool = False, stop: Event) -> Iterator[str | None]:
    """Yield the names on stdin; None whenever none arrived for a moment. Ends early when `stop` is set.

    Raises DataError, immediately, if stdin is closed.
    """
    if sys.stdin is None:
        raise DataError("stdin: closed; expected names of images on it, one per line")
    return split_names("stdin", _stdin_blocks(stop), null=null)


def split_names(subject: str, blocks: Iterator[bytes | None], *, null: bool) -> Iterator[str | None]:
    """Yield the names in blocks of bytes that are cut anywhere, without empty lines. None is passed on.

    Raises DataError for a name of more than LONGEST_NAME_BYTES.
    """
    end = b"\0" if null else b"\n"
    rest = b""
    for block in blocks:
        if block is None:
            yield None
            continue
        *whole, rest = (rest + block).split(end)
        yield from (name for line in whole if (name := _name(line, null)))
        if len(rest) > LONGEST_NAME_BYTES:
            kind = "NUL-terminated" if null else "one per line"
            raise DataError(f"{subject}: a name of more than {LONGEST_NAME_BYTES:,} bytes; expected paths, {kind}")
    if name := _name(rest, null):
        yield name


def _name(content: bytes, null: bool) -> str:
    return os.fsdecode(content if null else content.removesuffix(b"\r"))


def _stdin_blocks(stop: Event) -> Iterator[bytes | None]:
    """Yield the bytes of stdin, read below Python's buffer: a thread waiting in it would crash the interpreter at exit."""
    try:
        descriptor = sys.stdin.fileno()
    except (io.UnsupportedOperation, ValueError):  # not a real file, as under a test runner
        yield sys.stdin.buffer.read()
        return
    idle = False
    while not stop.is_set():
        if not _is_ready(descriptor):
            if not idle:
                yield None
            idle = True
            continue
        idle = False
        block = os.read(descriptor, _BLOCK)
        if not block:
            return
        yield block


def _is_ready(descriptor: int) -> bool:
    """Return whether there are bytes to read within a moment; True where the system can wait for sockets only (Windows)."""
    try:
        return bool(select.select([descriptor], [], [], _IDLE_S)[0])
    except OSError:
        return True
