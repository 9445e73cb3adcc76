"""Standard streams as commands need them: one that is closed, full or left by its reader ends in one clear way.

Text on stdout holds no raw control characters, whatever names are printed; stderr never ends a command.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vegrt.errors import VegrtError
from vegrt.files.text import printable_lines

_STDOUT, _STDERR = 1, 2
_UNENCODABLE = "vegrt.unencodable"  # how a character is written that the stream's encoding lacks


class ReaderLeft(Exception):
    """Whoever read our stdout is gone. What is printed after this goes nowhere."""


def open_missing_streams() -> None:
    """Make the streams of this process as the module says. sys.stdin stays None where it was closed.

    A closed descriptor is given to /dev/null: else the next file that is opened had its number, and what a native library
    says on stderr was written into that file.
    """
    codecs.register_error(_UNENCODABLE, _as_json_does)
    closed = [descriptor for descriptor in range(3) if not _is_open(descriptor)]
    for descriptor in closed:
        _discard(descriptor)
    if _STDOUT in closed or _descriptor_of(sys.stdout) == _STDOUT:
        sys.stdout = _Text(_Stdout(is_closed=_STDOUT in closed), sys.stdout)
    if _STDERR in closed or _descriptor_of(sys.stderr) == _STDERR:
        raw = io.BufferedWriter(_Stderr(_STDERR, "wb", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, _encoding_of(sys.stderr), "backslashreplace", line_buffering=True)


@contextmanager
def unescaped(stream: Any) -> Iterator[None]:
    """Let text through to `stream` as it is, for who escapes names himself and writes colours."""
    if not isinstance(stream, _Text):
        yield
        return
    stream.escapes = False
    try:
        yield
    finally:
        stream.escapes = True


class _Stdout(io.FileIO):
    """Descriptor 1. After a failure it takes everything: Python writes what is buffered once more at its end."""

    def __init__(self, *, is_closed: bool) -> None:
        super().__init__(_STDOUT, "wb", closefd=False)
        self._is_closed = is_closed

    def write(self, content: Any) -> int:
        """Write bytes. Raises ReaderLeft, or VegrtError for a stdout that is closed or on a full disk."""
        if self._is_closed:
            self._is_closed = False
            raise VegrtError("stdout: closed, so the answer cannot be printed; leave out >&-, or redirect it to a file")
        try:
            return super().write(content)
        except BrokenPipeError as error:
            _discard(_STDOUT)
            raise ReaderLeft from error
        except OSError as error:
            _discard(_STDOUT)
            raise VegrtError(f"stdout: writing failed ({error.strerror}); make room, then repeat it") from error


class _Stderr(io.FileIO):
    """Descriptor 2, of which nothing that goes wrong is told: there is nowhere to tell it."""

    def write(self, content: Any) -> int:
        """Write bytes, if possible."""
        try:
            return super().write(content)
        except OSError:
            return len(content)


class _Text(io.TextIOWrapper):
    """Text that is escaped line by line as it is written, while `escapes`."""

    escapes = True

    def __init__(self, raw: io.FileIO, like: Any) -> None:
        super().__init__(io.BufferedWriter(raw), _encoding_of(like), _UNENCODABLE, line_buffering=raw.isatty())

    def write(self, text: str) -> int:
        """Write text; return how long it is."""
        super().write(printable_lines(text) if self.escapes else text)
        return len(text)


def _as_json_does(error: UnicodeError) -> tuple[str, int]:
    """Escape what cannot be encoded as \\uXXXX, which a JSON parser reads as the character itself."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end


def _encoding_of(stream: Any) -> str:
    """Return a stream's encoding, UTF-8 in place of ASCII: typer writes past a stream that is ASCII."""
    name = getattr(stream, "encoding", None) or "utf-8"
    return "utf-8" if codecs.lookup(name).name == "ascii" else name


def _descriptor_of(stream: Any) -> int | None:
    try:
        number: int = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return number


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _discard(descriptor: int) -> None:
    """Connect a descriptor with /dev/null, for child processes too."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor)
    if nowhere == descriptor:
        os.set_inheritable(descriptor, True)
    else:
        os.close(nowhere)
