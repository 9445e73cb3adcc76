"""Tables of rows as CSV, JSON Lines and Parquet.

Parquet can only be read once its end is written, so its part is JSON Lines, turned into row groups at the end.
"""

from __future__ import annotations

import base64
import csv
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
from vegrt.infer.outputs.growing import GrowingFile
from vegrt.infer.outputs.rows import AnswerRow, RowFormat, as_cells, as_numbers, as_record, column_names
from vegrt.schema import build, parse_json

FORMATS = (".csv", ".jsonl", ".parquet")
_ROW_GROUP = 4096  # rows; what of a Parquet file is in memory at a time
_EMBEDDING = "embedding"
_LARGEST_CELL = 1 << 27  # bytes; an embedding of a wide network is one cell


def check_format(out: Path) -> None:
    """Raise VegrtError unless `out` has a suffix that we write and, for Parquet, pyarrow is there."""
    if out.suffix not in FORMATS:
        raise VegrtError(f"{out}: suffix {out.suffix or 'missing'!r}; expected one of {', '.join(FORMATS)}")
    if out.suffix == ".parquet":
        require("pyarrow", "parquet")


def table_file(out: Path, wanted: RowFormat, class_count: int) -> TableFile:
    """Return the table that the suffix of `out` asks for."""
    if out.suffix == ".csv":
        return CsvFile(out, wanted, class_count)
    if out.suffix == ".jsonl":
        return JsonLinesFile(out, wanted, class_count)
    return ParquetFile(out, wanted, class_count)


class TableFile(GrowingFile):
    """Rows with names."""

    def __init__(self, out: Path, wanted: RowFormat, class_count: int) -> None:
        super().__init__(out)
        self._wanted, self._class_count = wanted, class_count
        self.columns = column_names(wanted, class_count)
        if wanted.embedding:
            self.columns.insert(-1, _EMBEDDING)

    def names(self) -> Iterator[str]:
        """Yield the `path` of the whole rows in the part, as it is stored."""
        return (name for name, _ in self.scan())

    def stored(self, name: str) -> str:
        """Return an item's name as the table stores it."""
        return name

    @abstractmethod
    def scan(self) -> Iterator[tuple[str, int]]:
        """Yield each whole row's path and the position behind it. Raises VegrtError for a row that is no row of ours."""

    def count(self) -> int:
        """Return how many whole rows the part holds."""
        return sum(1 for _ in self.scan())

    def end_of(self, rows: int) -> int:
        """Return the position in bytes behind so many rows; 0 when there is not even a head."""
        head = self.head()
        with self.part.open("rb") as file:
            end = len(head) if file.read(len(head)) == head else 0
        if rows:
            end = next(position for number, (_, position) in enumerate(self.scan(), 1) if number == rows)
        return end

    def _strange(self, number: int) -> VegrtError:
        return VegrtError(f"{self.part}: row {number} is none of ours; begin anew with --overwrite")


class CsvFile(TableFile):
    """Comma-separated, quoted where needed, one line of names first. No cell is a formula: see `vegrt.files.csv_cells`."""

    def head(self) -> bytes:
        """Return the line of names."""
        return self._lines([self.columns])

    def encode(self, rows: Sequence[AnswerRow]) -> bytes:
        """Return lines; an embedding is a JSON list in one cell."""
        lines = [self._cells(row) for row in rows]
        if self._wanted.embedding:
            for row, cells in zip(rows, lines, strict=True):
                cells.insert(-1, json.dumps(as_numbers(row.embedding)) if row.embedding is not None else "")
        return self._lines(lines)

    def scan(self) -> Iterator[tuple[str, int]]:
        """Yield path and end; a last line that is torn, maybe within quotes, is not among them."""
        position = number = 0
        ended = False

        def lines() -> Iterator[str]:
            nonlocal position, ended
            with self.part.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    position += len(line)
                    yield line.decode("utf-8")
            ended = True

        limit = csv.field_size_limit(_LARGEST_CELL)  # of the whole process: given back below
        table = csv.reader(lines(), strict=True)
        try:
            if (first := next(table, None)) not in (None, self.columns):
                raise VegrtError(f"{self.part}: its columns are {', '.join(first or ())}; begin anew with --overwrite")
            for number, cells in enumerate(table, 1):
                if len(cells) != len(self.columns):
                    raise self._strange(number)
                yield cells[0], position
        except csv.Error as error:
            if not ended:  # else the end comes within quotes: that row is torn
                raise self._strange(number + 1) from error
        except UnicodeDecodeError as error:
            raise VegrtError(f"{self.part}: not UTF-8; begin anew with --overwrite") from error
        finally:
            csv.field_size_limit(limit)

    def stored(self, name: str) -> str:
        """Return an item's name as the table stores it."""
        return path_cell(name)

    def _cells(self, row: AnswerRow) -> list[Any]:
        path, *others = as_cells(row, self._wanted, self._class_count)
        return [path_cell(path), *(text_cell(cell) if type(cell) is str else cell for cell in others)]

    @staticmethod
    def _lines(cells: Sequence[Sequence[Any]]) -> bytes:
        return csv_text(cells).encode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class _Begun:
    """What is read of a row in a part."""

    path: str


class JsonLinesFile(TableFile):
    """One JSON object per line."""

    def head(self) -> bytes:
        """Return nothing."""
        return b""

    def encode(self, rows: Sequence[AnswerRow]) -> bytes:
        """Return lines."""
        return "".join(json_text(self._record(row)) + "\n" for row in rows).encode()

    def scan(self) -> Iterator[tuple[str, int]]:
        """Yield path and end; a torn last line is not among them."""
        position = 0
        with self.part.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                position += len(line)
                try:
                    name = build(_Begun, parse_json(line)).path
                except FormatError as error:
                    raise self._strange(number) from error
                yield name, position

    def _record(self, row: AnswerRow) -> dict[str, Any]:
        return as_record(row, self._wanted)


class ParquetFile(JsonLinesFile):
    """Strings, doubles and lists of floats. Its part is JSON Lines, an embedding in it base64 of little-endian float32."""

    def publish(self) -> None:
        """Write the Parquet file, a row group at a time, and remove the part."""
        import pyarrow
        import pyarrow.parquet

        schema = _schema(self.columns)
        write = pyarrow.parquet.ParquetWriter
        with self._making(self.out) as new, self.part.open("rb") as file, write(new, schema) as writer:
            while lines := list(islice(file, _ROW_GROUP)):
                records = [_unpacked(json.loads(line)) for line in lines]
                writer.write_table(pyarrow.Table.from_pylist(records, schema=schema))
        self.part.unlink()

    def reopen(self, new: Path) -> None:
        """Write to `new` what the part of the complete file was."""
        from pyarrow import ArrowException, parquet

        try:
            with parquet.ParquetFile(self.out) as complete, new.open("w", encoding="utf-8") as file:
                for batch in complete.iter_batches(_ROW_GROUP):
                    for record in batch.to_pylist():
                        if record.get(_EMBEDDING) is not None:
                            record[_EMBEDDING] = _packed(np.array(record[_EMBEDDING], np.float32))
                        file.write(json_text(record) + "\n")
        except ArrowException as error:
            raise VegrtError(f"{self.out}: no Parquet file ({error}); begin anew with --overwrite") from error

    def _record(self, row: AnswerRow) -> dict[str, Any]:
        cells = as_cells(row, self._wanted, self._class_count)
        if self._wanted.embedding:
            cells.insert(-1, None if row.embedding is None else _packed(row.embedding))
        return dict(zip(self.columns, cells, strict=True))


class EmbeddingTable(ParquetFile):
    """A Parquet file of its own for embeddings: path and embedding."""

    def __init__(self, out: Path) -> None:
        super().__init__(out, RowFormat(embedding=True), 1)
        self.columns = ["path", _EMBEDDING]

    def _record(self, row: AnswerRow) -> dict[str, Any]:
        return {"path": row.path, _EMBEDDING: None if row.embedding is None else _packed(row.embedding)}


def schema_of(wanted: RowFormat, class_count: int) -> Any:
    """Return the pyarrow.Schema of a table of rows without embeddings: one of `as_cells` each."""
    return _schema(column_names(wanted, class_count))


def _schema(columns: Sequence[str]) -> Any:
    import pyarrow

    return pyarrow.schema([(name, _type_of(name, pyarrow)) for name in columns])


def _type_of(column: str, pyarrow: Any) -> Any:
    if column == _EMBEDDING:
        return pyarrow.list_(pyarrow.float32())
    return pyarrow.float64() if column.startswith(("probability", "logit")) else pyarrow.string()


def _packed(embedding: Any) -> str:
    return base64.b64encode(embedding.astype("<f4").tobytes()).decode()


def _unpacked(record: dict[str, Any]) -> dict[str, Any]:
    if (text := record.get(_EMBEDDING)) is not None:
        record[_EMBEDDING] = np.frombuffer(base64.b64decode(text), "<f4")
    return record
