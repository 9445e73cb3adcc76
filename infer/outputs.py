"""The files of one inference: a table, embeddings, and a note of what makes them, so that only the same may go on with them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from vegrt.errors import FormatError, VegrtError
from vegrt.files import write_json
from vegrt.infer.growing import GrowingFile, check_writable, part_of
from vegrt.infer.rows import Row, Wanted
from vegrt.infer.tables import EmbeddingTable, TableFile, check_format, table_file
from vegrt.infer.vectors import VectorFile
from vegrt.schema import build, read_json

log = logging.getLogger(__name__)

IN_TABLE = "column"  # of --embeddings: a column of the table and no file of its own


@dataclass(frozen=True, slots=True)
class Destination:
    """Where answers go. out: the table. embeddings: .npy, .parquet, or IN_TABLE. resume: go on with what is there."""

    out: Path | None = None
    embeddings: str = ""
    resume: bool = False

    def check(self) -> None:
        """Raise VegrtError for what can't be written, before any work."""
        if self.out is None and (self.resume or self.embeddings == IN_TABLE):
            what = "--resume" if self.resume else f"--embeddings {IN_TABLE}"
            raise VegrtError(f"{what}: needs a file to write to; add -o FILE.csv, .jsonl or .parquet")
        if self.out is not None:
            check_format(self.out)
            check_writable(self.out)
        if (file := self.embeddings_file) is not None:
            if file.suffix not in (".npy", ".parquet"):
                raise VegrtError(f"--embeddings {file}: expected FILE.npy, FILE.parquet or {IN_TABLE}")
            if file.suffix == ".parquet":
                check_format(file)
            check_writable(file)

    @property
    def embeddings_file(self) -> Path | None:
        """Return the embeddings' own file, if they have one."""
        return Path(self.embeddings) if self.embeddings and self.embeddings != IN_TABLE else None


class Outputs:
    """The open files. Rows are appended to all; what one of them lacks after a kill is cut from the others on resuming."""

    def __init__(self, to: Destination, table: TableFile | None, others: Sequence[GrowingFile]) -> None:
        self._to, self._table = to, table
        self._files = [*([table] if table else []), *others]
        self._note = to.out.with_name(to.out.name + ".run.json") if to.out else None
        self.done = _Names(())

    @property
    def rows(self) -> int:
        """Return how many rows the table holds."""
        return self._table.rows if self._table else 0

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Open the files, empty or as an earlier run left them. identity: JSON values that must be the same for going on.

        Raises VegrtError when they were begun by something else, or when that is not known.
        """
        if self._table and self._note and self._to.resume and (self._table.part.exists() or self._table.out.exists()):
            _compare(self._table, self._note, identity)
            rows = min([file.resume() for file in self._files])
            for file in self._files:
                file.keep(rows)
            self.done = _Names(self._table.names())
            log.info("%s: %d rows are there already", self._table.out, rows)
            return
        if self._table and self._table.part.exists():
            log.warning("%s: an unfinished run was there; beginning anew, as --resume was not given", self._table.part)
        if self._note:
            self._note.unlink(missing_ok=True)
        for file in self._files:
            file.start()
        if self._note:
            write_json(self._note, dict(identity))

    def append(self, rows: Sequence[Row]) -> None:
        """Write a batch to all files, the table last: what it holds is everywhere."""
        for file in reversed(self._files):
            file.append(rows)

    def finish(self) -> None:
        """Give the complete files their names. The note stays only if resuming was asked for, and so may be again."""
        for file in reversed(self._files):
            file.finish()
        if self._note and not self._to.resume:
            self._note.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the files as they are. May be called after `finish`."""
        for file in self._files:
            file.close()
        if self._note and self._table and not self._table.out.exists() and not self._table.part.exists():
            self._note.unlink(missing_ok=True)

    def going_on(self) -> str:
        """Return how an interrupted run is continued, in words; empty where nothing was written."""
        if not self._table or not self._table.rows:
            return ""
        return f"{self._table.rows} rows are in {self._table.part}; to go on, repeat the command with --resume"


def open_outputs(to: Destination, wanted: Wanted, class_count: int, width: int) -> Outputs:
    """Return the files that `to` names, not yet begun. width: numbers per embedding."""
    table = table_file(to.out, wanted, class_count) if to.out else None
    file = to.embeddings_file
    if file is None:
        return Outputs(to, table, [])
    return Outputs(to, table, [EmbeddingTable(file) if file.suffix == ".parquet" else VectorFile(file, width)])


def _compare(table: TableFile, note: Path, identity: Mapping[str, Any]) -> None:
    begun = part_of(table.out) if table.part.exists() else table.out
    try:
        noted = build(dict[str, Any], read_json(note))
    except (OSError, FormatError) as error:
        raise VegrtError(
            f"{begun}: no {note.name} beside it, so nobody knows what made it; --resume needs a file that was begun with it, "
            f"or one that was interrupted; choose another --out"
        ) from error
    keys = [key for key in {**noted, **identity} if noted.get(key) != identity.get(key)]
    if keys:
        found = "; ".join(f"{key}: {noted.get(key)}, now {identity.get(key)}" for key in keys)
        raise VegrtError(f"{begun}: begun by something else ({found}); repeat that, or choose another --out")


class _Names:
    """Names that are done, eight bytes each: two of a hundred million have the same with a chance of 1 in 3,000."""

    def __init__(self, names: Iterator[str] | tuple[str, ...]) -> None:
        self._known = np.sort(np.fromiter(map(_short, names), np.uint64))

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, name: str) -> bool:
        if not len(self._known):
            return False
        key = np.uint64(_short(name))
        place = int(np.searchsorted(self._known, key))
        return place < len(self._known) and self._known[place] == key


def _short(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
