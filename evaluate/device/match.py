"""Which row of an answers file is about which photo: by path, or by the SHA-256 of the photo's bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.dataset.photos import Split, content_hash
from vegrt.errors import DataError
from vegrt.evaluate.device.rows import AnswerRow, shown
from vegrt.files.text import printable
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image

_HASH = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.IGNORECASE)


@dataclass(slots=True)
class _Misfits:
    """Rows of one kind that cannot be used: their number and the first example."""

    count: int = 0
    example: str = ""

    def add(self, example: str) -> None:
        self.count += 1
        self.example = self.example or example


@dataclass(slots=True)
class PhotoMatcher:
    """Finds the photo of each row; `rows` is the (P,) row of each photo of the split, -1 without one."""

    split: Split
    file: Path
    rows: NDArray[np.intp] = field(init=False)
    _names: dict[str, int] = field(init=False)
    _depths: list[int] = field(init=False)
    _hashes: dict[str, list[int]] | None = None
    _by_hash: dict[str, list[int]] = field(default_factory=dict)
    _unknown: _Misfits = field(default_factory=_Misfits)
    _double: _Misfits = field(default_factory=_Misfits)
    _errors: dict[int, str] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self.rows = np.full(len(self.split), -1, np.intp)
        self._names = {self.split.relative(photo): index for index, photo in enumerate(self.split.photos)}
        self._depths = sorted({name.count("/") + 1 for name in self._names}, reverse=True)

    def add(self, row: AnswerRow) -> None:
        """Match the next row."""
        number, self._count = self._count, self._count + 1
        written = row.sha256 or row.photo
        by_name = None if row.sha256 else self._by_name(row.photo)
        stated = _HASH.fullmatch(written) if by_name is None else None
        if stated:
            self._note_hash(stated[1].lower(), number, row)
        elif by_name is None:
            self._unknown.add(written)
        else:
            self._assign(by_name, number, row)

    def finish(self, contract: Contract) -> NDArray[np.intp]:
        """Return the (P,) row of each photo; -1 for photos that cannot be decoded here and have no row.

        Raises DataError for unknown, double and missing photos, with their number and the first example.
        """
        self._assign_copies()
        root = printable(self.split.root)
        if self._unknown.count:
            raise DataError(
                f"{self.file}: {self._unknown.count:,} of {self._count:,} rows are about photos that are not in {root}, such "
                f"as {shown(self._unknown.example)}; expected paths such as {shown(next(iter(self._names)))}, or a SHA-256"
            )
        if self._double.count:
            raise DataError(
                f"{self.file}: {self._double.count:,} of {self._count:,} rows repeat a photo, such as "
                f"{shown(self._double.example)}; expected one row for each photo"
            )
        self._check_missing(contract)
        return self.rows

    def name_of(self, index: int) -> str:
        """Return a photo's relative path for a message."""
        return shown(self.split.relative(self.split.photos[index]))

    def _check_missing(self, contract: Contract) -> None:
        missing = np.flatnonzero(self.rows < 0).tolist()
        for index in missing:  # a photo that nobody can decode needs no answer
            try:
                load_image(self.split.photos[index].path, contract)
            except DataError:
                continue
            reason = f" ({printable(self._errors[index])[:120]})" if index in self._errors else ""
            photos = f"{len(missing):,} of {len(self.split):,} photos of {printable(self.split.root)}"
            raise DataError(
                f"{self.file}: {photos} have no answer, such as {self.name_of(index)}{reason}; expected an answer to each"
            )

    def _by_name(self, written: str) -> int | None:
        """Return the photo whose path is the end of the written one; folders before it may be those of the device."""
        name = written.replace("\\", "/") if written not in self._names else written
        parts = name.rsplit("/", self._depths[0])
        for depth in self._depths:
            index = self._names.get("/".join(parts[-depth:]))
            if index is not None:
                return index
        return None

    def _assign(self, index: int, number: int, row: AnswerRow) -> None:
        if self.rows[index] >= 0 or index in self._errors:
            self._double.add(self.split.relative(self.split.photos[index]))
        elif row.error:
            self._errors[index] = row.error[:200]
        else:
            self.rows[index] = number

    def _note_hash(self, digest: str, number: int, row: AnswerRow) -> None:
        if self._hashes is None:
            self._hashes = _hashes(self.split)
        photos, rows = self._hashes.get(digest, []), self._by_hash.setdefault(digest, [])
        if not photos:
            self._unknown.add(digest)
        elif len(rows) == len(photos):
            self._double.add(digest)
        else:
            self._assign(photos[len(rows)], number, row)
            rows.append(number)

    def _assign_copies(self) -> None:
        """Give photos of the same bytes the same answer where only one of them has a row."""
        for digest, numbers in self._by_hash.items():
            for index in (self._hashes or {}).get(digest, [])[len(numbers) :]:
                first = self._hashes[digest][0] if self._hashes else index
                if self.rows[index] < 0 and index not in self._errors:
                    self.rows[index] = self.rows[first]


def _hashes(split: Split) -> dict[str, list[int]]:
    """Return the photos of each SHA-256; unreadable files have none."""
    photos: dict[str, list[int]] = {}
    for index, photo in enumerate(split.photos):
        try:
            photos.setdefault(content_hash(photo.path), []).append(index)
        except DataError:
            continue
    return photos
