"""The fields of a protobuf message, as far as ONNX files need them: an edge box needs no `onnx` package to read one.

A message is a row of fields, each a key (number << 3 | wire type) and its value: protobuf.dev/programming-guides/encoding. What a
runtime might read in another way than we do (groups, overlong numbers) is refused.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

_NUMBER, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def mapped(file: Path) -> mmap.mmap:
    """Return the content of a file, which stays mapped as long as a slice of it is in use.

    Raises OSError for a file that cannot be read, ValueError for an empty one.
    """
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield number and value of each field: bytes or a number; those of fixed size are stepped over.

    Raises ValueError for what is no message.
    """
    place = 0
    while place < len(message):
        key, place = _number(message, place)
        number, kind = (key & 0xFFFFFFFF) >> 3, key & 7
        if kind == _NUMBER:
            value, place = _number(message, place)
            yield number, value
        elif kind == _BYTES:
            size, place = _number(message, place)
            if size > len(message) - place:
                raise ValueError("it ends too early")
            yield number, message[place : place + size]
            place += size
        elif kind in (_FIXED64, _FIXED32):
            place += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")


def messages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the bytes of every field of one number. Raises ValueError for what is no message."""
    for number, value in fields(message):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _number(message: memoryview, place: int) -> tuple[int, int]:
    """Return a number of up to ten bytes, and where it ends."""
    value = 0
    for at, byte in enumerate(message[place : place + 10]):
        value |= (byte & 127) << 7 * at
        if byte < 128:
            return value, place + at + 1
    raise ValueError("it ends too early" if len(message) - place < 10 else "a number of more than ten bytes")
