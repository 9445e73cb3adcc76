"""The formats of output files: tables as CSV, JSON Lines and Parquet, and embeddings as one .npy array.

A Parquet file can be read only once its end is written, so its part is JSON Lines, converted to row groups at the end.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vegrt.errors import FormatError, VegrtError, require
from vegrt.files.csv_cells import csv_text, path_cell, text_cell
from vegrt.files.text import json_text
from vegrt.infer.outputs.names import name_hashes
from vegrt.infer.outputs.part_file import Codec, PartFile, StoredRows
from vegrt.infer.outputs.rows import AnswerRow, RowFormat, as_cells, as_numbers, as_record, column_names
from vegrt.schema import build, parse_json

FORMATS = (".csv", ".jsonl", ".parquet")
_ROW_GROUP = 4096  # rows of a Parquet file that are in memory at a time
_EMBEDDING = "embedding"
_LARGEST_CELL_BYTES = 1 << 27  # an embedding of a wide network is one cell
_NPY_HEAD_BYTES = 128  # as numpy.save writes it


def check_format(out: Path) -> None:
    """Raise VegrtError unless vegrt writes the suffix of `out` and, for Parquet, pyarrow is installed."""
    if out.suffix not in FORMATS:
        raise VegrtError(f"{out}: suffix {out.suffix or 'missing'!r}; expected one of {', '.join(FORMATS)}")
    if out.suffix == ".parquet":
        require("pyarrow", "parquet")


def table_file(out: Path, row_format: RowFormat, class_count: int) -> PartFile[TableCodec]:
    """Return the table at `out`, in the format of its suffix, not yet opened."""
    kinds: dict[str, type[TableCodec]] = {".csv": CsvCodec, ".jsonl": JsonLinesCodec}
    return PartFile(out, kinds.get(out.suffix, ParquetCodec)(row_format, class_count))


def embedding_file(out: Path, width: int) -> PartFile[Codec]:
    """Return the embeddings' own file at `out`, .npy or .parquet, not yet opened. width: numbers per embedding."""
    return PartFile(out, EmbeddingCodec() if out.suffix == ".parquet" else NpyCodec(width))


class TableCodec(Codec):
    """Rows with names."""

    def __init__(self, row_format: RowFormat, class_count: int) -> None:
        self._row_format, self._class_count = row_format, class_count
        self.columns = column_names(row_format, class_count)
        if row_format.embedding:
            self.columns.insert(-1, _EMBEDDING)

    def stored(self, name: str) -> str:
        """Return an item's name as the table stores it."""
        return name

    @abstractmethod
    def scan(self, part: Path) -> Iterator[tuple[str, int]]:
        """Yield the path of each whole row and the byte position after it. Raises VegrtError for rows of another origin."""

    def examine(self, part: Path) -> StoredRows:
        """Return the whole rows of the part. Names are the paths as they are stored."""
        end = 0

        def names() -> Iterator[str]:
            nonlocal end
            for name, position in self.scan(part):
                end = position
                yield name

        hashes = name_hashes(names())
        return StoredRows(len(hashes), end, hashes)

    def end_of(self, part: Path, rows: int) -> int:
        """Return the byte position after the first `rows` rows; 0 when the head is incomplete."""
        head = self.head(0)
        with part.open("rb") as file:
            end = len(head) if file.read(len(head)) == head else 0
        if rows:
            end = next(position for number, (_, position) in enumerate(self.scan(part), 1) if number == rows)
        return end


class CsvCodec(TableCodec):
    """Comma-separated, quoted where needed, column names first. No cell is a formula: see `vegrt.files.csv_cells`."""

    def head(self, rows: int) -> bytes:
        """Return the line of column names."""
        return _csv_bytes([self.columns])

    def encode(self, rows: Sequence[AnswerRow]) -> bytes:
        """Return lines; an embedding is a JSON list in one cell."""
        lines = [self._cells(row) for row in rows]
        if self._row_format.embedding:
            for row, cells in zip(rows, lines, strict=True):
                cells.insert(-1, json.dumps(as_numbers(row.embedding)) if row.embedding is not None else "")
        return _csv_bytes(lines)

    def scan(self, part: Path) -> Iterator[tuple[str, int]]:
        """Yield path and end of each whole row; a torn last line, even within quotes, is not one."""
        position = number = 0
        ended = False

        def lines() -> Iterator[str]:
            nonlocal position, ended
            with part.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    position += len(line)
                    yield line.decode("utf-8")
            ended = True

        limit = csv.field_size_limit(_LARGEST_CELL_BYTES)  # of the whole process: restored below
        table = csv.reader(lines(), strict=True)
        try:
            if (first := next(table, None)) not in (None, self.columns):
                raise VegrtError(f"{part}: its columns are {', '.join(first or ())}; start over with --overwrite")
            for number, cells in enumerate(table, 1):
                if len(cells) != len(self.columns):
                    raise _foreign_row(part, number)
                yield cells[0], position
        except csv.Error as error:
            if not ended:  # else the end comes within quotes: that row is torn
                raise _foreign_row(part, number + 1) from error
        except UnicodeDecodeError as error:
            raise VegrtError(f"{part}: not UTF-8; start over with --overwrite") from error
        finally:
            csv.field_size_limit(limit)

    def stored(self, name: str) -> str:
        """Return an item's name as the table stores it."""
        return path_cell(name)

    def _cells(self, row: AnswerRow) -> list[Any]:
        path, *others = as_cells(row, self._row_format, self._class_count)
        return [path_cell(path), *map(_csv_cell, others)]


@dataclass(frozen=True, slots=True)
class _StoredRow:
    """The part of a stored row that is read again."""

    path: str


class JsonLinesCodec(TableCodec):
    """One JSON object per line."""

    def head(self, rows: int) -> bytes:
        """Return nothing."""
        return b""

    def encode(self, rows: Sequence[AnswerRow]) -> bytes:
        """Return lines."""
        return "".join(json_text(self._record(row)) + "\n" for row in rows).encode()

    def scan(self, part: Path) -> Iterator[tuple[str, int]]:
        """Yield path and end of each whole row; a torn last line is not one."""
        position = 0
        with part.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                position += len(line)
                try:
                    name = build(_StoredRow, parse_json(line)).path
                except FormatError as error:
                    raise _foreign_row(part, number) from error
                yield name, position

    def _record(self, row: AnswerRow) -> dict[str, Any]:
        return as_record(row, self._row_format)


class ParquetCodec(JsonLinesCodec):
    """Strings, doubles and lists of floats. Its part is JSON Lines, an embedding in it base64 of little-endian float32."""

    converts = True

    def from_part(self, part: Path, complete: Path) -> None:
        """Write the Parquet file, a row group at a time."""
        import pyarrow
        import pyarrow.parquet

        schema = _schema(self.columns)
        with (
            part.open("rb") as file,
            complete.open("wb") as target,  # by Python, whose errors have the system's number
            pyarrow.parquet.ParquetWriter(target, schema) as writer,
        ):
            while lines := list(islice(file, _ROW_GROUP)):
                records = [_unpacked(json.loads(line)) for line in lines]
                writer.write_table(pyarrow.Table.from_pylist(records, schema=schema))

    def to_part(self, complete: Path, part: Path) -> None:
        """Write the JSON Lines of a Parquet file."""
        from pyarrow import ArrowException, parquet

        try:
            with parquet.ParquetFile(complete) as table, part.open("w", encoding="utf-8") as file:
                for batch in table.iter_batches(_ROW_GROUP):
                    for record in batch.to_pylist():
                        if record.get(_EMBEDDING) is not None:
                            record[_EMBEDDING] = _packed(np.array(record[_EMBEDDING], np.float32))
                        file.write(json_text(record) + "\n")
        except (ArrowException, UnicodeDecodeError) as error:
            raise VegrtError(f"{complete}: not a Parquet file ({error}); start over with --overwrite") from error

    def _record(self, row: AnswerRow) -> dict[str, Any]:
        cells = as_cells(row, self._row_format, self._class_count)
        if self._row_format.embedding:
            cells.insert(-1, None if row.embedding is None else _packed(row.embedding))
        return dict(zip(self.columns, cells, strict=True))


class EmbeddingCodec(ParquetCodec):
    """A Parquet file of path and embedding only."""

    def __init__(self) -> None:
        super().__init__(RowFormat(embedding=True), 1)
        self.columns = ["path", _EMBEDDING]

    def _record(self, row: AnswerRow) -> dict[str, Any]:
        return {"path": row.path, _EMBEDDING: None if row.embedding is None else _packed(row.embedding)}


class NpyCodec(Codec):
    """(N, D) float32, readable by numpy.load at any moment: row i belongs to the table's row i, NaN where that is an error."""

    counts_in_head = True

    def __init__(self, width: int) -> None:
        self._width = width

    def head(self, rows: int) -> bytes:
        """Return numpy's header for so many rows."""
        described = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {self._width}), }}"
        text = described.ljust(_NPY_HEAD_BYTES - 11) + "\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()

    def encode(self, rows: Sequence[AnswerRow]) -> bytes:
        """Return the rows' numbers."""
        values = np.full((len(rows), self._width), np.nan, "<f4")
        for number, row in enumerate(rows):
            if row.embedding is not None:
                values[number] = row.embedding
        return values.tobytes()

    def examine(self, part: Path) -> StoredRows:
        """Return the rows that the header states and the file holds. Raises VegrtError for another array."""
        with part.open("rb") as file:
            head = file.read(_NPY_HEAD_BYTES)
        if len(head) < _NPY_HEAD_BYTES:
            return StoredRows()
        try:
            shape, _, kind = np.lib.format.read_array_header_1_0(io.BytesIO(head[8:]))
        except ValueError as error:
            raise VegrtError(f"{part}: not an array written by vegrt ({error}); start over with --overwrite") from error
        if kind != np.dtype("<f4") or len(shape) != 2 or shape[1] != self._width:
            raise VegrtError(
                f"{part}: holds {kind} {shape}; expected float32 (N, {self._width}); start over with --overwrite"
            )
        rows = min(int(shape[0]), (part.stat().st_size - _NPY_HEAD_BYTES) // (4 * self._width))
        return StoredRows(rows, self.end_of(part, rows))

    def end_of(self, part: Path, rows: int) -> int:
        """Return the byte position after the first `rows` rows."""
        return _NPY_HEAD_BYTES + 4 * self._width * rows if part.stat().st_size >= _NPY_HEAD_BYTES else 0


def schema_of(row_format: RowFormat, class_count: int) -> Any:
    """Return the pyarrow.Schema of a table of rows without embeddings, whose columns are those of `as_cells`."""
    return _schema(column_names(row_format, class_count))


def _foreign_row(part: Path, number: int) -> VegrtError:
    return VegrtError(f"{part}: row {number} was not written by vegrt; start over with --overwrite")


def _csv_cell(value: Any) -> Any:
    """Return a cell's value as CSV holds it: a list as JSON."""
    if type(value) is list:
        value = json_text(value)
    return text_cell(value) if type(value) is str else value


def _csv_bytes(cells: Sequence[Sequence[Any]]) -> bytes:
    return csv_text(cells).encode("utf-8", "backslashreplace")


def _schema(columns: Sequence[str]) -> Any:
    import pyarrow

    return pyarrow.schema([(name, _type_of(name, pyarrow)) for name in columns])


def _type_of(column: str, pyarrow: Any) -> Any:
    if column == _EMBEDDING:
        return pyarrow.list_(pyarrow.float32())
    if column == "set":
        return pyarrow.list_(pyarrow.string())
    return pyarrow.float64() if column.startswith(("probability", "logit", "foreign_score")) else pyarrow.string()


def _packed(embedding: Any) -> str:
    return base64.b64encode(embedding.astype("<f4").tobytes()).decode()


def _unpacked(record: dict[str, Any]) -> dict[str, Any]:
    if (text := record.get(_EMBEDDING)) is not None:
        record[_EMBEDDING] = np.frombuffer(base64.b64decode(text), "<f4")
    return record
