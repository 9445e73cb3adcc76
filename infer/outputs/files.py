"""The files of one inference: a table, embeddings, and a note of what makes them, so that only the same may go on with them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from vegrt.errors import VegrtError
from vegrt.infer.outputs.growing import GrowingFile, check_absent, check_writable
from vegrt.infer.outputs.rows import AnswerRow, RowFormat
from vegrt.infer.outputs.run_note import Noted, OutputLock, RunNote
from vegrt.infer.outputs.tables import EmbeddingTable, TableFile, check_format, table_file
from vegrt.infer.outputs.vectors import VectorFile

log = logging.getLogger(__name__)

IN_TABLE = "column"  # of --embeddings: a column of the table and no file of its own


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Where answers go.

    out: the table. embeddings: .npy, .parquet, or IN_TABLE. resume: go on with what is there. overwrite: replace what is there.
    printed: rows go to stdout beside the table; without a table they do anyway.
    """

    out: Path | None = None
    embeddings: str = ""
    resume: bool = False
    overwrite: bool = False
    printed: bool = False

    def check(self) -> None:
        """Raise VegrtError for what can't be written or would replace something, before any work."""
        if self.out is None and (self.resume or self.embeddings == IN_TABLE):
            what = "--resume" if self.resume else f"--embeddings {IN_TABLE}"
            raise VegrtError(f"{what}: needs a file to write to; add -o FILE.csv, .jsonl or .parquet")
        if self.resume and self.overwrite:
            raise VegrtError(
                "--resume and --overwrite: one goes on with what the other replaces; leave one of them out"
            )
        if self.out is not None:
            check_format(self.out)
            check_writable(self.out)
        if (file := self.embeddings_file) is not None:
            if file.suffix not in (".npy", ".parquet"):
                raise VegrtError(f"--embeddings {file}: expected FILE.npy, FILE.parquet or {IN_TABLE}")
            if file.suffix == ".parquet":
                check_format(file)
            check_writable(file)
        if not self.resume:
            self.check_absent()

    def check_absent(self) -> None:
        """Raise VegrtError when a file that is not to be overwritten is there."""
        if not self.overwrite:
            noted = RunNote(self.out).read() if self.out else None
            cure = "add --overwrite to replace it" + (", or --resume to go on with it" if noted else "")
            for file in filter(None, (self.out, self.embeddings_file)):
                check_absent(file, cure)

    @property
    def prints(self) -> bool:
        """Return whether rows go to stdout."""
        return self.printed or self.out is None

    @property
    def embeddings_file(self) -> Path | None:
        """Return the embeddings' own file, if they have one."""
        return Path(self.embeddings) if self.embeddings and self.embeddings != IN_TABLE else None


class OutputFiles:
    """The open files. Rows are appended to all; what one of them lacks after a kill is cut from the others on resuming."""

    def __init__(self, to: OutputOptions, table: TableFile | None, others: Sequence[GrowingFile]) -> None:
        self._to, self._table = to, table
        self._files = [*([table] if table else []), *others]
        self._locks = [OutputLock(file.out) for file in self._files]
        self._note = RunNote(table.out) if table else None
        self._identity: Mapping[str, Any] = {}
        self._started = False
        self.done = _Names(())

    @property
    def rows(self) -> int:
        """Return how many rows the table holds."""
        return self._table.rows if self._table else 0

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Open the files, empty or as an earlier run left them. identity: JSON values that must be the same for going on.

        Raises VegrtError when they were begun by something else, when that is not known, and when another process writes them.
        """
        self._identity = identity
        try:
            for lock in self._locks:
                lock.take()
            noted = self._note.read() if self._note and self._to.resume else None
            if self._table and self._can_go_on(self._table, noted):
                self._go_on(self._table, complete=noted is not None and noted.state == "complete")
            else:
                self._start(replacing=noted is not None and not noted.differences(identity))
        except BaseException:
            self.close()
            raise

    def holds(self, name: str) -> bool:
        """Return whether an item of this name has its row already."""
        return self._table is not None and len(self.done) > 0 and self._table.stored(name) in self.done

    def append(self, rows: Sequence[AnswerRow]) -> None:
        """Write a batch to all files, the table last: what it holds is everywhere."""
        for file in reversed(self._files):
            file.append(rows)

    def finish(self) -> None:
        """Give the complete files their names. The note stays only if resuming was asked for, and so may be again."""
        if self._note:
            self._note.write("complete", self._identity)
        for file in reversed(self._files):
            file.finish()
        if self._note and not self._to.resume:
            self._locks[0].absorb(self._note)
        self._started = False
        self.close()

    def close(self) -> None:
        """Leave the files as they are, for other processes too. May be called after `finish`."""
        for file in self._files:
            file.close()
        if self._note and self._table and self._started and not self._table.part.exists():
            self._note.remove()  # nothing was written
        self._started = False
        for lock in reversed(self._locks):  # the table's last: it may hold the note
            lock.release()

    def going_on(self) -> str:
        """Return how an interrupted run is continued, in words; empty where nothing was written."""
        if not self._table or not self._table.rows:
            return ""
        return f"{self._table.rows} rows are in {self._table.part}; to go on, repeat the command with --resume"

    def _can_go_on(self, table: TableFile, noted: Noted | None) -> bool:
        """Return whether there are rows to go on with. Raises VegrtError for rows that this run would not have made."""
        if not self._to.resume:
            return False
        begun = table.part if table.part.exists() else table.out
        if noted is None:
            if table.out.exists() or (table.part.exists() and table.part.stat().st_size > len(table.head())):
                raise VegrtError(
                    f"{begun}: no {table.out.name}.run.json of ours beside it, so nobody knows what made it; --resume needs a "
                    f"file that was begun with it, or one that was interrupted; choose another --out, or replace it: --overwrite"
                )
            return False
        holds = noted.state != "begun" and (table.part.exists() or (noted.state == "complete" and table.out.exists()))
        if found := (holds or table.out.exists()) and noted.differences(self._identity):
            raise VegrtError(
                f"{begun}: begun by something else ({found}); repeat that, choose another --out, or replace it: --overwrite"
            )
        return holds

    def _go_on(self, table: TableFile, *, complete: bool) -> None:
        rows = min([file.resume(complete=complete) for file in self._files])
        for file in self._files:
            file.keep(rows)
        self.done = _Names(table.names())
        log.info("%s: %d rows are there already", table.out, rows)

    def _start(self, *, replacing: bool) -> None:
        """Begin all files anew. replacing: whether the same run began to replace what is there, and did not get far."""
        if not replacing:
            self._to.check_absent()
        if self._note:
            self._note.write("begun", self._identity)
        self._started = True
        for file in self._files:
            file.start()
        if self._note:
            self._note.write("growing", self._identity)


def open_outputs(to: OutputOptions, wanted: RowFormat, class_count: int, width: int) -> OutputFiles:
    """Return the files that `to` names, not yet begun. width: numbers per embedding."""
    table = table_file(to.out, wanted, class_count) if to.out else None
    file = to.embeddings_file
    if file is None:
        return OutputFiles(to, table, [])
    return OutputFiles(to, table, [EmbeddingTable(file) if file.suffix == ".parquet" else VectorFile(file, width)])


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
