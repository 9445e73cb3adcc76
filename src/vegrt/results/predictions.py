"""The predictions of an evaluation: within its result file or, of many photos, in a Parquet file beside it.

Readers get the same `Predictions` from both. The Parquet file has one row per photo, with `path`, `label` and, for each
candidate, `<key>/top1`, `<key>/probability` and `<key>/margin`. The result file, results/evaluate-<name>.json, holds its name and
SHA-256. Its name, evaluate-<name>.<first digits of the SHA-256>.parquet, is a new one for other content: the earlier result file
stays valid until the new one replaces it.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from vegrt.bundle.entries import is_regular
from vegrt.errors import BundleError, FormatError, VegrtError, reason_of, require
from vegrt.files.atomic import replacing
from vegrt.results.evaluation import CandidateAnswers, Evaluation, Predictions, PredictionsFile
from vegrt.schema import read_bytes

MAX_INLINE_PHOTOS = 5000  # with eight candidates about 2 MB of JSON
DECIMALS = 6  # of probabilities and margins
_MAX_BYTES = 1 << 30  # of the file
_PARQUET = ".parquet"
_DIGITS = 12  # of the SHA-256 in the name of a Parquet file


def check_predictions_storable(photos: int, *, max_inline: int = MAX_INLINE_PHOTOS) -> None:
    """Raise MissingExtraError if predictions of so many photos need pyarrow and it is not installed."""
    if photos > max_inline:
        require("pyarrow", "parquet")


def store_predictions(path: Path, evaluation: Evaluation, *, max_inline: int = MAX_INLINE_PHOTOS) -> Evaluation:
    """Return the evaluation as its result file is to hold it.

    path: of the result file. Predictions of more than `max_inline` photos are written to a Parquet file beside it.
    """
    predictions = evaluation.predictions
    if isinstance(predictions, PredictionsFile) or len(predictions.paths) <= max_inline:
        return evaluation
    check_predictions_storable(len(predictions.paths), max_inline=max_inline)
    content = _encoded(predictions)
    sha256 = hashlib.sha256(content).hexdigest()
    file = path.with_name(f"{path.stem}.{sha256[:_DIGITS]}{_PARQUET}")
    with replacing(file) as temporary:
        temporary.write_bytes(content)
    stored = PredictionsFile(file.name, sha256, len(predictions.paths), predictions.photos_sha256)
    return replace(evaluation, predictions=stored)


def remove_unused(path: Path, evaluation: Evaluation) -> None:
    """Remove the Parquet files beside a result file that it does not refer to."""
    used = "" if isinstance(evaluation.predictions, Predictions) else evaluation.predictions.file
    for file in tables_of(path):
        if file.name != used:
            with suppress(OSError):  # the next evaluation of this name removes it
                file.unlink()


def tables_of(path: Path) -> list[Path]:
    """Return the Parquet files that belong to a result file, of this and of earlier evaluations of its name."""
    own = re.compile(rf"{re.escape(path.stem)}(\.[0-9a-f]{{{_DIGITS}}})?{re.escape(_PARQUET)}")
    return sorted(file for file in path.parent.glob(f"*{_PARQUET}") if own.fullmatch(file.name))


def read_predictions(folder: Path, evaluation: Evaluation) -> Predictions:
    """Return the predictions of an evaluation. folder: that of its result file.

    Raises BundleError if the Parquet file is missing, or is not the one that was written with the result file; MissingExtraError
    without pyarrow.
    """
    stored = evaluation.predictions
    if isinstance(stored, Predictions):
        return stored
    require("pyarrow", "parquet")
    file = folder / stored.file
    try:
        if Path(stored.file).name != stored.file or not is_regular(file):
            raise FormatError("missing, or not a regular file")
        content = read_bytes(file, limit_bytes=_MAX_BYTES)
        if hashlib.sha256(content).hexdigest() != stored.sha256:
            raise FormatError("not the file that was written with the result")
        predictions = _read(content, stored, [row.key for row in evaluation.candidates])
        predictions.check(len(evaluation.classes), [row.key for row in evaluation.candidates])
    except (OSError, FormatError) as error:
        raise BundleError(
            f"{file}: {error}; expected the answers of {stored.photos:,} photos; run vegrt evaluate again"
        ) from error
    return predictions


def _encoded(predictions: Predictions) -> bytes:
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, Any] = {
        "path": pyarrow.array(predictions.paths, "string"),
        "label": pyarrow.array(predictions.labels, "int32"),
    }
    for key, answers in predictions.candidates.items():
        columns[f"{key}/top1"] = pyarrow.array(answers.top1, "int32")
        if answers.probability is not None:
            columns[f"{key}/probability"] = pyarrow.array(answers.probability, "float32")
        if answers.margin is not None:
            columns[f"{key}/margin"] = pyarrow.array(answers.margin, "float32")
    content = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), content, compression="zstd")
    return bytes(content.getvalue().to_pybytes())


def _read(content: bytes, stored: PredictionsFile, keys: list[str]) -> Predictions:
    """Return the predictions in a Parquet file. keys: of the candidates."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        if table.metadata.num_rows != stored.photos:
            raise FormatError(f"has {table.metadata.num_rows:,} rows")
        columns = table.read()
        answers = {key: _answers(columns, key) for key in keys}
        return Predictions(_column(columns, "path", "string"), _column(columns, "label", "int32"), answers)
    except VegrtError:
        raise
    except (
        Exception
    ) as error:  # pyarrow's errors have no common base class: UnicodeDecodeError for a path, for instance
        raise FormatError(f"not the answers of {', '.join(keys)} ({reason_of(error)})") from error


def _answers(columns: Any, key: str) -> CandidateAnswers:
    names = [f"{key}/probability", f"{key}/margin"]
    probability, margin = (_decimals(columns, name) if name in columns.column_names else None for name in names)
    return CandidateAnswers(_column(columns, f"{key}/top1", "int32"), probability, margin)


def _decimals(columns: Any, name: str) -> tuple[float, ...]:
    """Return the numbers as they were before they became float32, which holds six decimals."""
    numbers = _column(columns, name, "float")
    if not all(map(isfinite, numbers)):
        raise FormatError("has a number that is not finite", name)
    return tuple(round(number, DECIMALS) for number in numbers)


def _column(columns: Any, name: str, kind: str) -> tuple[Any, ...]:
    """Return a column's values. Raises FormatError if it is of another type or has empty cells."""
    column = columns[name]
    if str(column.type) != kind or column.null_count:
        raise FormatError(f"is {column.type} with {column.null_count} empty cells; expected {kind}", name)
    return tuple(column.to_pylist())
