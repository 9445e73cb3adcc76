"""Reads how many values a Parquet file states in its footer, which is a structure of Thrift's compact protocol.

pyarrow 26 ends the process (std::terminate) when it is asked for the metadata of a column whose size statistics are damaged. So
it is asked for the rows only, where it raises exceptions. Specified by apache/parquet-format (parquet.thrift: FileMetaData) and
apache/thrift (doc/specs/thrift-compact-protocol.md).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vegrt.errors import FormatError

_MAX_BYTES = 16 << 20  # of a footer
_MAX_DEPTH = 32
_MAGIC = b"PAR1"
# field numbers: FileMetaData.row_groups; RowGroup.columns and .total_byte_size; ColumnChunk.meta_data; ColumnMetaData.num_values
_ROW_GROUPS, _COLUMNS, _TOTAL_BYTE_SIZE, _META_DATA, _NUM_VALUES = 4, 1, 2, 3, 5
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)  # of 16, 32 and 64 bits


@dataclass(frozen=True, slots=True)
class Stated:
    """What a footer states. stored_bytes: of all pages, decompressed. values: of all columns, with those within lists."""

    stored_bytes: int
    values: int


def read_stated(path: Path) -> Stated:
    """Return what the footer of a Parquet file states. Raises FormatError for another file, OSError if it cannot be read."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != _MAGIC or length > min(size - 8, _MAX_BYTES):
            raise FormatError("is not Parquet, or its footer is damaged or too large", "its content")
        file.seek(size - 8 - length)
        footer = file.read(length)
    try:
        groups = _Compact(footer).struct().get(_ROW_GROUPS, [])
        columns = [column for group in groups for column in group.get(_COLUMNS, [])]
        stored = [group[_TOTAL_BYTE_SIZE] for group in groups]
        values = [column[_META_DATA][_NUM_VALUES] for column in columns]
        if min(stored + values, default=0) < 0:
            raise ValueError("a negative size")
        return Stated(sum(stored), sum(values))
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # a field of another type than it should have
        raise FormatError("is not Parquet (its footer is damaged)", "its content") from error


class _Compact:
    """Reads values one after the other. A struct is a dictionary from field number to value."""

    def __init__(self, content: bytes) -> None:
        self._content, self._offset = content, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return a struct. Raises ValueError for damaged bytes."""
        values: dict[int, Any] = {}
        number = 0
        while header := self._bytes(1)[0]:
            number = number + (header >> 4) if header >> 4 else _signed(self._varint())
            kind = header & 15
            values[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return values

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        if kind in _INTEGERS:
            return _signed(self._varint())
        if kind in (_TRUE, _FALSE, _BYTE):  # as elements, booleans take a byte
            return self._bytes(1)[0]
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            header = self._bytes(1)[0]
            count = header >> 4 if header >> 4 < 15 else self._varint()
            return [self._value(header & 15, depth + 1) for _ in range(self._checked(count))]
        if kind == _MAP:
            count = self._checked(self._varint())
            kinds = self._bytes(1)[0] if count else 0
            return [(self._value(kinds >> 4, depth + 1), self._value(kinds & 15, depth + 1)) for _ in range(count)]
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"unknown type {kind}")

    def _checked(self, count: int) -> int:
        """Return a number of elements, each of which takes at least a byte. Raises ValueError if there cannot be so many."""
        if count > len(self._content) - self._offset:
            raise ValueError("unexpected end")
        return count

    def _bytes(self, size: int) -> bytes:
        start, self._offset = self._offset, self._offset + size
        if self._offset > len(self._content):
            raise ValueError("unexpected end")
        return self._content[start : self._offset]

    def _varint(self) -> int:
        value = 0
        for place in range(10):
            byte = self._bytes(1)[0]
            value |= (byte & 127) << 7 * place
            if byte < 128:
                return value
        raise ValueError("integer of more than ten bytes")


def _signed(value: int) -> int:
    """Return the integer of a zigzag encoding."""
    return value >> 1 ^ -(value & 1)
