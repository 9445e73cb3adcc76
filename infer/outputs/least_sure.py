"""Keeps the photos that the model was least sure of, to be labelled: copies, and a CSV file as `vegrt data` reads it.

`unsure.csv` has the columns path, class and split of `vegrt.dataset.listing`, class empty until a person fills it in, and what
the model answered.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count as counting
from pathlib import Path

import numpy as np

from vegrt.dataset.listing import COLUMNS
from vegrt.errors import VegrtError
from vegrt.files.atomic import write_text
from vegrt.files.csv_cells import csv_text, path_cell, text_cell
from vegrt.infer.decode.item import Item
from vegrt.infer.decode.pipeline import Decoded
from vegrt.infer.outputs.photos import check_folder, file_name, try_copy, write_content, write_unique
from vegrt.infer.outputs.rows import AnswerRow

FILE = "unsure.csv"
_SPLIT = "train"


@dataclass(frozen=True, slots=True)
class LeastSureOptions:
    """folder: for the copies; None keeps none. count: how many at most."""

    folder: Path | None = None
    count: int = 100

    def check(self) -> None:
        """Raise VegrtError, before any work, for a folder that cannot be written or is not empty."""
        if self.folder is None:
            return
        check_folder(self.folder)
        if any(self.folder.iterdir()):  # perhaps labels, and photos that must not be replaced by others
            raise VegrtError(f"{self.folder}: is not empty; choose another folder for the photos to keep")

    def opened(self) -> LeastSure:
        """Return what keeps the photos."""
        return LeastSure(self.folder, self.count)


@dataclass(slots=True)
class LeastSure:
    """The copies in a folder, at most `count`: each new photo replaces the surest of them, if it is less sure itself.

    folder: None keeps none.
    """

    folder: Path | None
    count: int
    _heap: list[tuple[float, int, Path, AnswerRow]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=counting)
    _is_written: bool = False

    def add(self, batch: Decoded, rows: list[AnswerRow]) -> None:
        """Consider the readable photos of a batch; a photo that is gone costs a warning. Raises VegrtError for the folder."""
        if self.folder is None:
            return
        changed = False
        for item, row in zip(batch.items, rows, strict=True):
            if row.score is not None and (len(self._heap) < self.count or row.score < -self._heap[0][0]):
                changed |= self._keep(self.folder, item, row)
        if changed or not self._is_written:
            self._write(self.folder / FILE)

    def _keep(self, folder: Path, item: Item, row: AnswerRow) -> bool:
        """Copy a photo that has an answer, and return whether that worked."""
        name = file_name(item) + (".png" if isinstance(item.content, np.ndarray) else "")
        path = try_copy(folder, item, partial(write_unique, folder, name, item.name, partial(write_content, item)))
        if path is None or any(path == other for _, _, other, _ in self._heap):  # the same photo again
            return False
        heapq.heappush(self._heap, (-row.ranked[0][1], next(self._numbers), path, row))
        if len(self._heap) > self.count:
            heapq.heappop(self._heap)[2].unlink(missing_ok=True)
        return True

    def _write(self, file: Path) -> None:
        rows = [
            (
                path_cell(path.name),
                "",
                _SPLIT,
                text_cell(row.ranked[0][0]),
                row.score,
                row.judgement.decision if row.judgement else "",
                text_cell(row.path),
            )
            for _, _, path, row in sorted(self._heap, key=lambda entry: (-entry[0], entry[1]))
        ]
        names = (*COLUMNS, "answer", "probability", "decision", "source")
        write_text(file, csv_text([names, *rows]))
        self._is_written = True
