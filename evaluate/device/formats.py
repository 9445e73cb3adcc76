"""Reads answers files: CSV, JSON Lines, Parquet and .npz. They come from anywhere, so sizes are checked before reading.

No more of a file is in memory than its answers: one line, or one batch of rows. Arrays of an .npz file are read only if their
headers agree with their sizes; pickled objects are refused.
"""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vegrt.bundle.archive import DAMAGE
from vegrt.bundle.entries import is_regular
from vegrt.errors import DataError, FormatError, VegrtError, reason_of, require
from vegrt.evaluate.device.parquet_footer import read_stated
from vegrt.evaluate.device.rows import TEXT_LENGTH, AnswerRow, Layout, shown
from vegrt.files.csv_cells import text_of_cell
from vegrt.files.text import printable
from vegrt.schema import parse_json

SUFFIXES = (".csv", ".jsonl", ".parquet", ".npz")
_MAX_BYTES = 4 << 30  # of the file, and of its content where that is compressed
_ROW_BYTES = 4096  # of a row without its scores, on average
_LINE_BYTES = 1 << 20  # of a line without its scores
_CLASS_BYTES = 512  # of one class in a line: its name and its score
_MAX_LINES = 64  # of one CSV row: a file name may hold line feeds
_BATCH = 1024  # rows of a Parquet file that are in memory at a time
_SCALARS = ("images_per_s",)  # of an .npz file


@dataclass(frozen=True, slots=True)
class _Limits:
    """line_bytes: longest line. rows: largest number of rows. content_bytes: of the file, and of what is unpacked from it."""

    line_bytes: int
    rows: int
    content_bytes: int


def read_rows(path: Path, classes: Sequence[str], photos: int) -> Iterator[AnswerRow]:
    """Yield the rows of an answers file. classes: of the bundle, in label order. photos: the number of photos to be answered.

    Raises DataError for a missing or irregular file, another suffix, invalid content, and many more rows than photos;
    MissingExtraError for Parquet without pyarrow.
    """
    readers: dict[str, Callable[[Path, Sequence[str], _Limits], Iterator[AnswerRow]]] = {
        ".csv": _csv,
        ".jsonl": _json_lines,
        ".parquet": _parquet,
        ".npz": _npz,
    }
    if (suffix := path.suffix.lower()) not in readers:
        raise DataError(f"{path}: suffix {suffix or 'missing'!r}; expected one of {', '.join(SUFFIXES)}")
    if not is_regular(path):
        raise DataError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    rows = 4 * photos + 1000
    content_bytes = min(_MAX_BYTES, rows * (_ROW_BYTES + _CLASS_BYTES * len(classes)))
    limits = _Limits(_LINE_BYTES + _CLASS_BYTES * len(classes), rows, content_bytes)
    if (size := path.stat().st_size) > content_bytes:
        raise DataError(f"{path}: {size:,} bytes; expected at most {content_bytes:,} for {photos:,} photos")
    count = 0
    try:
        for count, row in enumerate(readers[suffix](path, classes, limits), 1):
            if count > limits.rows:
                raise FormatError(f"has more than {limits.rows:,} rows; expected one for each of {photos:,} photos")
            yield row
    except FormatError as error:
        raise DataError(f"{path}: {error}; see docs/answers.md") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not count:
        raise DataError(f"{path}: has no rows; expected one for each of {photos:,} photos")


def _csv(path: Path, classes: Sequence[str], limits: _Limits) -> Iterator[AnswerRow]:
    try:
        table = csv.reader(_csv_lines(path, limits), strict=True)
        columns = next(table, [])
        layout = Layout.of(columns, classes)
        for cells in table:
            if len(cells) != len(columns):
                raise FormatError(f"has {len(cells)} cells; expected {len(columns)}", f"line {table.line_num}")
            values = {
                name: text_of_cell(cell) if "label" in name else cell for name, cell in zip(columns, cells, strict=True)
            }
            yield _placed(f"line {table.line_num}", layout, values)
    except csv.Error as error:
        raise FormatError(f"is not CSV ({error})", "its content") from error


def _csv_lines(path: Path, limits: _Limits) -> Iterator[str]:
    """Yield lines for csv.reader, which joins those of one row: as long as a quote is open, so their number is limited."""
    is_quoted, joined = False, 0
    for line in _lines(path, limits):
        is_quoted ^= line.count('"') % 2 == 1
        joined = joined + 1 if is_quoted else 0
        if joined > _MAX_LINES:
            raise FormatError(f"has a row of more than {_MAX_LINES} lines; a quote is not closed")
        yield line


def _lines(path: Path, limits: _Limits) -> Iterator[str]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(limits.line_bytes):
            number += 1
            if len(line) == limits.line_bytes:
                raise FormatError(f"has {limits.line_bytes:,} bytes or more", f"line {number}")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise FormatError("is not UTF-8", f"line {number}") from error


def _json_lines(path: Path, classes: Sequence[str], limits: _Limits) -> Iterator[AnswerRow]:
    """Yield a row per line. A first line with nothing but `classes` states the order of the lists."""
    layouts: dict[tuple[str, ...], Layout] = {}
    file_classes: list[str] | None = None
    for number, line in enumerate(_lines(path, limits), 1):
        place = f"line {number}"
        if not line.strip():
            continue
        try:
            value = parse_json(line.encode(), finite=False)  # the numbers of photos that are not finite are counted
        except FormatError as error:
            raise FormatError(f"is {error}", place) from error
        if not isinstance(value, dict):
            raise FormatError(f"is {shown(value)}; expected an object", place)
        if number == 1 and value.keys() == {"classes"}:
            file_classes = _names(value["classes"])
            continue
        value = _flat(value)
        keys = tuple(value)
        if keys not in layouts:
            layouts.clear()  # only the last one: a file could have another set of keys on each line
            layouts[keys] = _laid_out(place, keys, classes, file_classes)
        yield _placed(place, layouts[keys], value)


def _flat(value: dict[str, Any]) -> dict[str, Any]:
    """Return a row of `vegrt infer -o FILE.jsonl --top-k K` with the columns that its CSV file has."""
    ranked = value.get("top_k")
    if not isinstance(ranked, list) or not all(isinstance(entry, dict) for entry in ranked):
        return value
    flat = {key: item for key, item in value.items() if key != "top_k"}
    for place, entry in enumerate(ranked[1:], 2):
        flat |= {f"{key}_{place}": entry[key] for key in ("label", "logit", "probability") if key in entry}
    return flat


def _laid_out(place: str, columns: Sequence[str], classes: Sequence[str], order: Sequence[str] | None) -> Layout:
    try:
        return Layout.of(columns, classes, order)
    except FormatError as error:
        raise FormatError(str(error), place) from error


def _names(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise FormatError(f"is {shown(value)}; expected a list of names", "classes")
    return value


def _parquet(path: Path, classes: Sequence[str], limits: _Limits) -> Iterator[AnswerRow]:
    parquet = require("pyarrow.parquet", "parquet")
    try:
        schema = parquet.read_schema(path)
        texts = [field.name for field in schema if str(field.type) in ("string", "large_string")]
        with parquet.ParquetFile(path, read_dictionary=texts) as file:  # a text that is repeated is in memory once
            _check_parquet(path, file.metadata, len(classes), limits)
            stated = (schema.metadata or {}).get(b"vegrt.classes")
            layout = Layout.of(schema.names, classes, None if stated is None else _names(parse_json(stated)))
            number = 0
            for batch in file.iter_batches(_BATCH, columns=[name for name in schema.names if name in layout.columns]):
                _check_texts(batch)
                for values in batch.to_pylist():
                    number += 1
                    yield _placed(f"row {number}", layout, values)
    except VegrtError:
        raise
    except (
        Exception
    ) as error:  # pyarrow's errors have no common base class: UnicodeDecodeError for a name, for instance
        raise FormatError(f"is not Parquet ({reason_of(error):.120})", "its content") from error


def _check_parquet(path: Path, metadata: Any, classes: int, limits: _Limits) -> None:
    """Raise FormatError if a file states more than answers can need; equal values take hardly any space in it."""
    if metadata.num_rows > limits.rows:
        raise FormatError(f"has {metadata.num_rows:,} rows; expected at most {limits.rows:,}")
    stated = read_stated(path)
    if stated.stored_bytes > limits.content_bytes or stated.values > limits.rows * (2 * classes + metadata.num_columns):
        raise FormatError(
            f"has {stated.values:,} values in {stated.stored_bytes:,} bytes when unpacked; expected fewer"
        )


def _check_texts(batch: Any) -> None:
    """Raise FormatError for a text of a batch that is too long, before it is repeated for each row."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        texts = getattr(column, "dictionary", None)
        if (
            texts is not None
            and max((len(text.as_buffer()) for text in texts if text.is_valid), default=0) > 4 * TEXT_LENGTH
        ):
            raise FormatError(f"has a text of more than {TEXT_LENGTH:,} characters", name)


def _npz(path: Path, classes: Sequence[str], limits: _Limits) -> Iterator[AnswerRow]:
    try:
        with zipfile.ZipFile(path) as archive:
            stored = sum(info.file_size for info in archive.infolist())
            if stored > limits.content_bytes or len(archive.infolist()) > len(classes) + 64:
                raise FormatError(f"has {len(archive.infolist())} arrays of {stored:,} bytes; expected fewer")
            arrays = {info.filename.removesuffix(".npy"): _array(archive, info) for info in archive.infolist()}
    except DAMAGE as error:
        raise FormatError(f"is not an .npz file ({error!s:.120})", "its content") from error
    order = arrays.pop("classes", None)
    scalars = {name: arrays.pop(name).item() for name in _SCALARS if name in arrays and arrays[name].ndim == 0}
    layout = Layout.of(tuple(arrays), classes, None if order is None else _names(order.tolist()))
    lengths = {name: len(array) if array.ndim else -1 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or -1 in lengths.values():
        raise FormatError(
            f"has arrays of different lengths: {', '.join(f'{printable(n):.60}: {c}' for n, c in islice(lengths.items(), 8))}"
        )
    for index in range(next(iter(lengths.values()))):
        values = {name: _item(array[index]) for name, array in arrays.items()}
        yield _placed(f"row {index}", layout, values | scalars)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    """Return an array of an .npz file. Raises FormatError unless its header fits its size, and for pickled objects."""
    name = shown(info.filename)
    content = archive.read(info)
    if len(content) > info.file_size:
        raise FormatError("is larger than stated", name)
    try:
        array: np.ndarray[Any, Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (
        Exception
    ) as error:  # NumPy evaluates the header as Python: also tokenize.TokenError, RecursionError, KeyError
        raise FormatError(f"is not a plain array ({reason_of(error):.120})", name) from error
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind not in "Uiuf" or array.ndim > 2:
        raise FormatError(f"is {array.ndim}-dimensional of type {array.dtype}; expected numbers or text", name)
    if array.dtype.kind == "U" and array.nbytes and _code_points(array).max() > sys.maxunicode:
        raise FormatError("has text that is not Unicode", name)
    return array


def _code_points(texts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the code points of texts: NumPy stores four bytes for each, and reads any."""
    return np.ascontiguousarray(texts).view(f"{texts.dtype.str[0]}u4")


def _item(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else value.item()


def _placed(place: str, layout: Layout, values: dict[str, Any]) -> AnswerRow:
    try:
        return layout.row(values)
    except FormatError as error:
        raise FormatError(str(error), f"{place}:") from error
