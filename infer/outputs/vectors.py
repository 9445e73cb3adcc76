"""Embeddings as one .npy array that grows by batches, readable by numpy.load at any moment."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vegrt.errors import VegrtError
from vegrt.infer.outputs.growing import GrowingFile
from vegrt.infer.outputs.rows import AnswerRow

_HEAD_BYTES = 128  # as numpy.save makes it; the number of rows in it grows with the file


class VectorFile(GrowingFile):
    """(N, D) float32: row i is that of the output's row i, NaN where that is an error."""

    def __init__(self, out: Path, width: int) -> None:
        super().__init__(out)
        self._width = width

    def head(self) -> bytes:
        """Return numpy's header for `rows` rows, always of the same length."""
        described = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({self.rows}, {self._width}), }}"
        text = described.ljust(_HEAD_BYTES - 11) + "\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()

    def encode(self, rows: Sequence[AnswerRow]) -> bytes:
        """Return the rows' numbers."""
        values = np.full((len(rows), self._width), np.nan, "<f4")
        for number, row in enumerate(rows):
            if row.embedding is not None:
                values[number] = row.embedding
        return values.tobytes()

    def appended(self) -> None:
        """Count the batch in the header: only now it is in the array."""
        os.pwrite(self._opened.fileno(), self.head(), 0)

    def count(self) -> int:
        """Return the number of rows that the header states and the file holds. Raises VegrtError for another array."""
        with self.part.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            return 0
        try:
            shape, _, kind = np.lib.format.read_array_header_1_0(io.BytesIO(head[8:]))
        except ValueError as error:
            raise VegrtError(f"{self.part}: no array of ours ({error}); begin anew with --overwrite") from error
        if kind != np.dtype("<f4") or len(shape) != 2 or shape[1] != self._width:
            raise VegrtError(
                f"{self.part}: holds {kind} {shape}; expected float32 (N, {self._width}); begin anew with --overwrite"
            )
        return min(int(shape[0]), (self.part.stat().st_size - _HEAD_BYTES) // (4 * self._width))

    def end_of(self, rows: int) -> int:
        """Return the position behind so many rows."""
        return _HEAD_BYTES + 4 * self._width * rows if self.part.stat().st_size >= _HEAD_BYTES else 0

    def keep(self, rows: int) -> None:
        """Cut everything behind the first `rows` rows, in the header too."""
        super().keep(rows)
        self.appended()
