"""Reads and writes the fields of protobuf messages in ONNX files, so that an edge device does not need the `onnx` package.

A message is a sequence of fields, each a key (number << 3 | wire type) and its value: protobuf.dev/programming-guides/encoding.
Encodings that a runtime might read differently (groups, overlong numbers) are refused.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

_NUMBER, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def mapped(file: Path) -> mmap.mmap:
    """Return the content of a file as a memory map, which stays open while a slice of it is in use.

    Raises OSError for a file that cannot be read, ValueError for an empty one.
    """
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield number and value of each field, as bytes or an integer; fields of fixed size are skipped.

    Raises ValueError for bytes that are not a message.
    """
    offset = 0
    while offset < len(message):
        key, offset = _number(message, offset)
        number, kind = (key & 0xFFFFFFFF) >> 3, key & 7
        if kind == _NUMBER:
            value, offset = _number(message, offset)
            yield number, value
        elif kind == _BYTES:
            size, offset = _number(message, offset)
            if size > len(message) - offset:
                raise ValueError("unexpected end of file")
            yield number, message[offset : offset + size]
            offset += size
        elif kind in (_FIXED64, _FIXED32):
            offset += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"unsupported wire type {kind}")


def messages(message: memoryview, field_number: int) -> Iterator[memoryview]:
    """Yield the bytes of every field with this number. Raises ValueError for bytes that are not a message."""
    for number, value in fields(message):
        if number == field_number and isinstance(value, memoryview):
            yield value


def numbers(message: memoryview, field_number: int) -> list[int]:
    """Return the integers of every field with this number, packed or not. Raises ValueError for bytes that are not a message."""
    result = []
    for number, value in fields(message):
        if number == field_number:
            result += [value] if isinstance(value, int) else _packed_numbers(value)
    return result


def field(number: int, content: bytes) -> bytes:
    """Return a field of bytes: a text, or a message inside a message."""
    return _encoded(number << 3 | _BYTES) + _encoded(len(content)) + content


def number_field(number: int, value: int) -> bytes:
    """Return a field of a non-negative integer."""
    return _encoded(number << 3 | _NUMBER) + _encoded(value)


def _encoded(value: int) -> bytes:
    """Return a non-negative integer as protobuf's variable-length integer."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _packed_numbers(content: memoryview) -> list[int]:
    values, offset = [], 0
    while offset < len(content):
        value, offset = _number(content, offset)
        values.append(value)
    return values


def _number(message: memoryview, offset: int) -> tuple[int, int]:
    """Return a variable-length integer of up to ten bytes, and the offset of its end."""
    value = 0
    for at, byte in enumerate(message[offset : offset + 10]):
        value |= (byte & 127) << 7 * at
        if byte < 128:
            return value, offset + at + 1
    raise ValueError("unexpected end of file" if len(message) - offset < 10 else "integer of more than ten bytes")
