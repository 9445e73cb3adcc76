"""The output files of one run: a table, embeddings, and a note of the run's settings, so that only the same run resumes them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vegrt.errors import VegrtError
from vegrt.infer.outputs.codecs import TableCodec, check_format, embedding_file, table_file
from vegrt.infer.outputs.names import NameSet
from vegrt.infer.outputs.part_file import Codec, PartFile, check_no_output, check_writable
from vegrt.infer.outputs.rows import AnswerRow, RowFormat
from vegrt.infer.outputs.run_note import Noted, OutputLock, RunNote

log = logging.getLogger(__name__)

IN_TABLE = "column"  # of --embeddings: a column of the table and no file of its own


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Where answers are written.

    out: the table. embeddings: .npy, .parquet, or IN_TABLE. resume: continue existing files. overwrite: replace existing files.
    printed: print rows to stdout besides writing the table; without a table they are always printed.
    """

    out: Path | None = None
    embeddings: str = ""
    resume: bool = False
    overwrite: bool = False
    printed: bool = False

    def begun_with(self) -> tuple[str, str] | None:
        """Return variant and runtime of the run that is to be resumed; None if there is none."""
        noted = RunNote(self.out).read() if self.out and self.resume else None
        return (str(noted.identity.get("variant")), str(noted.identity.get("runtime"))) if noted else None

    def check(self) -> None:
        """Raise VegrtError, before any work, for a file that cannot be written or would replace another one."""
        if self.out is None and (self.resume or self.embeddings == IN_TABLE):
            option = "--resume" if self.resume else f"--embeddings {IN_TABLE}"
            raise VegrtError(f"{option}: needs a file to write to; add -o FILE.csv, .jsonl or .parquet")
        if self.resume and self.overwrite:
            raise VegrtError(
                "--resume and --overwrite: one continues the file that the other replaces; leave one of them out"
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
            self.check_no_output()

    def check_no_output(self) -> None:
        """Raise VegrtError when an output file exists and may not be overwritten."""
        if not self.overwrite:
            noted = RunNote(self.out).read() if self.out else None
            cure = "add --overwrite to replace it" + (", or --resume to continue it" if noted else "")
            for file in filter(None, (self.out, self.embeddings_file)):
                check_no_output(file, cure)

    @property
    def prints(self) -> bool:
        """Return whether rows go to stdout."""
        return self.printed or self.out is None

    @property
    def embeddings_file(self) -> Path | None:
        """Return the embeddings' own file, if they have one."""
        return Path(self.embeddings) if self.embeddings and self.embeddings != IN_TABLE else None


class OutputFiles:
    """The open files. Rows are appended to all; on resuming, rows that one file lacks are cut from the others."""

    def __init__(
        self, options: OutputOptions, table: PartFile[TableCodec] | None, others: Sequence[PartFile[Codec]]
    ) -> None:
        self._options, self._table = options, table
        self._files: list[PartFile[Codec]] = [*([table] if table else []), *others]
        self._locks = [OutputLock(file.out) for file in self._files]
        self._note = RunNote(table.out) if table else None
        self._identity: Mapping[str, Any] = {}
        self._started = False
        self.done = NameSet()

    @property
    def rows(self) -> int:
        """Return how many rows the table holds."""
        return self._table.rows if self._table else 0

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Open the files, empty or as an earlier run left them. identity: JSON values that must be equal to resume a run.

        Raises VegrtError for files written with different settings or without a note, and when another process writes them.
        """
        self._identity = identity
        try:
            for lock in self._locks:
                lock.take()
            noted = self._note.read() if self._note and self._options.resume else None
            if self._table and self._can_resume(self._table, noted):
                self._resume(self._table, complete=noted is not None and noted.state == "complete")
            else:
                self._start(replacing=noted is not None and not noted.differences(identity))
        except BaseException:
            self.close()
            raise

    def holds(self, name: str) -> bool:
        """Return whether an item of this name has a row already."""
        return self._table is not None and len(self.done) > 0 and self._table.codec.stored(name) in self.done

    def append(self, rows: Sequence[AnswerRow]) -> None:
        """Write a batch to all files, the table last: a row in the table is in every file."""
        for file in reversed(self._files):
            file.append(rows)

    def finish(self) -> None:
        """Give the complete files their names. The note stays only with --resume, so that the run can be resumed again."""
        if self._note:
            self._note.write("complete", self._identity)
        for file in reversed(self._files):
            file.finish()
        if self._note and not self._options.resume:
            self._locks[0].absorb(self._note)
        self._started = False
        self.close()

    def close(self) -> None:
        """Leave the files as they are, for other processes too. May be called after `finish`."""
        with ExitStack() as last_first:  # each of them is done, even if another one fails
            for lock in self._locks:  # the table's is released last: it may hold the note
                last_first.callback(lock.release)
            last_first.callback(self._remove_note_of_nothing)
            for file in self._files:  # without a row of the table, the other files have none to continue
                last_first.callback(file.close, discard=self._table is not None and not self._table.rows)

    def _remove_note_of_nothing(self) -> None:
        was_started, self._started = self._started, False
        if self._note and self._table and was_started and not self._table.part.exists():
            self._note.remove()

    def how_to_resume(self) -> str:
        """Return how to resume an interrupted run, in words; empty if nothing was written."""
        if not self._table or not self._table.rows:
            return ""
        return f"{self._table.rows} rows are in {self._table.part}; to resume, repeat the command with --resume"

    def _can_resume(self, table: PartFile[TableCodec], noted: Noted | None) -> bool:
        """Return whether there are rows to continue. Raises VegrtError for rows that this run would not have made."""
        if not self._options.resume:
            return False
        existing = table.part if table.part.exists() else table.out
        if noted is None:
            if table.out.exists() or (table.part.exists() and table.part.stat().st_size > len(table.codec.head(0))):
                raise VegrtError(
                    f"{existing}: cannot resume: {table.out.name}.run.json is missing; --resume needs a file started "
                    f"with --resume, or an interrupted one; choose another --out, or replace it: --overwrite"
                )
            return False
        holds = noted.state != "begun" and (table.part.exists() or (noted.state == "complete" and table.out.exists()))
        if differences := (holds or table.out.exists()) and noted.differences(self._identity):
            raise VegrtError(
                f"{existing}: written with different settings ({differences}); "
                "repeat those, choose another --out, or replace it: --overwrite"
            )
        return holds

    def _resume(self, table: PartFile[TableCodec], *, complete: bool) -> None:
        rows = min([file.resume(complete=complete) for file in self._files])
        for file in self._files:
            file.keep(rows)
        self.done = NameSet(table.stored.names[:rows])
        log.info("%s: %d rows exist already", table.out, rows)

    def _start(self, *, replacing: bool) -> None:
        """Start all files over. replacing: whether an earlier try of this run had begun to replace the existing files."""
        if not replacing:
            self._options.check_no_output()
        if self._note:
            self._note.write("begun", self._identity)
        self._started = True
        for file in self._files:
            file.start()
        if self._note:
            self._note.write("growing", self._identity)


def open_outputs(options: OutputOptions, row_format: RowFormat, class_count: int, width: int) -> OutputFiles:
    """Return the files that the options name, not yet begun. width: numbers per embedding."""
    table = table_file(options.out, row_format, class_count) if options.out else None
    file = options.embeddings_file
    return OutputFiles(options, table, [] if file is None else [embedding_file(file, width)])
