"""Standard streams for commands: a stream that is closed, full or abandoned by its reader ends a command in one defined way.

Control characters in text on stdout are escaped, because names may contain any; a failing stderr never ends a command. Only
results reach stdout: what native libraries (MNN, ONNX Runtime, TensorRT) and child processes print there goes to stderr.
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
_UNENCODABLE = "vegrt.unencodable"  # name of the error handler for characters that the encoding lacks


class ReaderLeft(Exception):
    """The reader of stdout closed it. Everything that is printed later is discarded."""


def open_missing_streams() -> None:
    """Replace sys.stdout and sys.stderr by the streams of this module. sys.stdin stays None if it is closed.

    A closed descriptor is connected to /dev/null: otherwise the next opened file would get its number, and messages of native
    libraries on stderr would be written into that file.
    """
    codecs.register_error(_UNENCODABLE, _escape_as_json)
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
    """Stop escaping on `stream` within the block, for code that escapes names itself and writes colours."""
    if not isinstance(stream, _Text):
        yield
        return
    stream.escapes = False
    try:
        yield
    finally:
        stream.escapes = True


class _Stdout(io.FileIO):
    """The stdout that the process was started with, under another number; descriptor 1 becomes another name of stderr.

    After a failure it discards everything, because Python flushes its buffer once more when it exits.
    """

    def __init__(self, *, is_closed: bool) -> None:
        super().__init__(os.dup(_STDOUT), "wb")
        os.dup2(_STDERR, _STDOUT)  # native libraries and child processes write to descriptor 1
        self._is_closed = is_closed

    def write(self, content: Any) -> int:
        """Write bytes. Raises ReaderLeft, and VegrtError for a closed stdout or a full disk."""
        if self._is_closed:
            self._is_closed = False
            raise VegrtError(
                "stdout: closed, so the result cannot be printed; remove >&-, or redirect stdout to a file"
            )
        try:
            return super().write(content)
        except BrokenPipeError as error:
            _discard(self.fileno())
            raise ReaderLeft from error
        except OSError as error:
            _discard(self.fileno())
            raise VegrtError(
                f"stdout: writing failed ({error.strerror}); free some space, then repeat the command"
            ) from error


class _Stderr(io.FileIO):
    """Descriptor 2, whose failures are ignored: they cannot be reported anywhere."""

    def write(self, content: Any) -> int:
        """Write bytes, if possible."""
        try:
            return super().write(content)
        except OSError:
            return len(content)


class _Text(io.TextIOWrapper):
    """Text stream that escapes control characters while `escapes` is true."""

    escapes = True

    def __init__(self, raw: io.FileIO, like: Any) -> None:
        super().__init__(io.BufferedWriter(raw), _encoding_of(like), _UNENCODABLE, line_buffering=raw.isatty())

    def write(self, text: str) -> int:
        """Write text; return its length."""
        super().write(printable_lines(text) if self.escapes else text)
        return len(text)


def _escape_as_json(error: UnicodeError) -> tuple[str, int]:
    """Escape characters that cannot be encoded as \\uXXXX, which a JSON parser reads as the character itself."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end


def _encoding_of(stream: Any) -> str:
    """Return a stream's encoding, with UTF-8 in place of ASCII: typer bypasses an ASCII stream."""
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
    """Connect a descriptor to /dev/null, also in child processes."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, descriptor)
    if null == descriptor:
        os.set_inheritable(descriptor, True)
    else:
        os.close(null)
