"""Files that grow by whole batches under OUT.part and become OUT by one rename at the end.

A process that is killed leaves an OUT.part that can be read, with at most its last row torn; `resume` cuts that row off and
continues. Every other file that takes a name, such as a part made of a complete file, is first written whole as OUT.part.new.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Generic, TypeVar

from vegrt.errors import VegrtError
from vegrt.files.descriptors import flush
from vegrt.files.temporary import make_temporary, release_temporary
from vegrt.infer.outputs.names import NO_HASHES, Hashes
from vegrt.infer.outputs.rows import AnswerRow


def part_of(out: Path) -> Path:
    """Return the path of a file while it is incomplete."""
    return out.with_name(out.name + ".part")


def check_writable(out: Path) -> None:
    """Raise VegrtError, before any work, unless a file can be made at `out`."""
    if out.is_dir():
        raise VegrtError(f"{out}: cannot be written (it is a folder); choose another place")
    try:
        probe, descriptor = make_temporary(out, folder=False)
        try:
            probe.unlink()
        finally:
            release_temporary(probe, descriptor)
        with suppress(FileNotFoundError):  # none, or another process has just completed it
            part_of(out).open("r+b").close()
    except OSError as error:
        raise VegrtError(f"{out}: cannot be written ({error.strerror}); choose another place") from error


def check_no_output(out: Path, cure: str) -> None:
    """Raise VegrtError when there is a file at `out`, or rows of an unfinished run. cure: the options that allow it."""
    part = part_of(out)
    if _size_bytes(part):
        raise VegrtError(f"{part}: holds the rows of an unfinished run; {cure}")
    if os.path.lexists(out):
        raise VegrtError(f"{out}: exists; {cure}")


def _size_bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # none, or another process has just completed it
        return 0


def _new_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.part.new")


@dataclass(frozen=True, slots=True)
class StoredRows:
    """The whole rows of a part. end: byte position after them. names: hashes of their names in order; empty if they have none."""

    count: int = 0
    end: int = 0
    names: Hashes = field(default_factory=lambda: NO_HASHES)


class Codec(ABC):
    """How rows are stored in a file.

    counts_in_head: whether the head holds the number of rows, and is rewritten after each batch. converts: whether the complete
    file has another format than its part.
    """

    counts_in_head = False
    converts = False

    @abstractmethod
    def head(self, rows: int) -> bytes:
        """Return the bytes before the first row, always of the same length. rows: how many the file holds."""

    @abstractmethod
    def encode(self, rows: Sequence[AnswerRow]) -> bytes:
        """Return the rows as the part stores them."""

    @abstractmethod
    def examine(self, part: Path) -> StoredRows:
        """Return the whole rows of the part, in one pass. Raises VegrtError for a part that vegrt did not write."""

    @abstractmethod
    def end_of(self, part: Path, rows: int) -> int:
        """Return the byte position after the first `rows` rows; 0 when the head is incomplete."""

    def from_part(self, part: Path, complete: Path) -> None:
        """Write the complete file to `complete`. Only where the codec converts."""
        raise NotImplementedError

    def to_part(self, complete: Path, part: Path) -> None:
        """Write to `part` what the part of the complete file was."""
        shutil.copyfile(complete, part)


CodecT = TypeVar("CodecT", bound=Codec, covariant=True)


class PartFile(Generic[CodecT]):
    """One such file. rows: how many it holds. stored: those that an earlier run left."""

    def __init__(self, out: Path, codec: CodecT) -> None:
        self.out, self.part, self.codec, self.rows = out, part_of(out), codec, 0
        self.stored = StoredRows()
        self._file: IO[bytes] | None = None
        self._is_new = False

    def start(self) -> None:
        """Start over, with no rows."""
        with self._mapped_errors():
            _new_of(self.out).unlink(missing_ok=True)
            self._file = self.part.open("wb", buffering=0)
        self._is_new = True
        self.write(self.codec.head(0))

    def resume(self, *, complete: bool = True) -> int:
        """Open what an earlier run left, or start if it left nothing. Return how many whole rows there are.

        complete: whether a complete file belongs to that run. Its rows are continued if there is no part, or an empty one.
        """
        if complete and self.out.exists() and not (self.part.exists() and self.part.stat().st_size):
            with self._mapped_errors(), self._replacing(self.part) as new:
                self.codec.to_part(self.out, new)
        if not self.part.exists():
            self.start()
        else:
            with self._mapped_errors():
                _new_of(self.out).unlink(missing_ok=True)
                self._file = self.part.open("r+b", buffering=0)
            self.stored = self.codec.examine(self.part)
            self.rows = self.stored.count
        return self.rows

    def keep(self, rows: int) -> None:
        """Cut everything after the first `rows` rows."""
        all_rows = rows > 0 and rows == self.stored.count
        with self._mapped_errors():
            self._opened.truncate(self.stored.end if all_rows else self.codec.end_of(self.part, rows))
            self._opened.seek(0, os.SEEK_END)
        if not self._opened.tell():
            self.write(self.codec.head(0))
        self.rows = rows
        self.update_head()

    def append(self, rows: Sequence[AnswerRow]) -> None:
        """Write a batch. Raises VegrtError when that fails; the file is then as it was before the batch."""
        self.write(self.codec.encode(rows))
        self.rows += len(rows)
        self.update_head()

    def finish(self) -> None:
        """Give the complete file its name."""
        with self._mapped_errors():
            os.fsync(self._opened.fileno())
            self._opened.close()
            if self.codec.converts:
                with self._replacing(self.out) as new:
                    self.codec.from_part(self.part, new)
                self.part.unlink()
            else:
                self.part.replace(self.out)

    def close(self, *, discard: bool = False) -> None:
        """Leave the file as it is, to be resumed; a new one without rows is removed. May be called after `finish`.

        discard: remove a new one with rows too.
        """
        if self._file is not None and not self._file.closed:
            try:
                self._file.close()
            finally:
                if self._is_new and (discard or not self.rows):
                    self.part.unlink(missing_ok=True)

    @contextmanager
    def _replacing(self, target: Path) -> Iterator[Path]:
        """Yield a path to write to; on success it becomes `target` by one rename, on failure it is removed."""
        new = _new_of(self.out)
        try:
            yield new
            flush(new)
            new.replace(target)
        finally:
            new.unlink(missing_ok=True)

    @property
    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise AssertionError("start or resume comes first")
        return self._file

    def update_head(self) -> None:
        """Write the number of rows to the head, for codecs that count there."""
        if self.codec.counts_in_head:  # last: a batch belongs to the file once it is counted
            end = self._opened.tell()
            self._opened.seek(0)
            self._opened.write(self.codec.head(self.rows))
            self._opened.seek(end)

    def write(self, content: bytes) -> None:
        """Append bytes, all or none. Raises VegrtError when that fails."""
        end = self._opened.tell()
        remaining = memoryview(content)
        try:
            while remaining:
                remaining = remaining[self._opened.write(remaining) :]  # unbuffered: a full disk takes a part of it
        except OSError as error:
            with suppress(OSError):  # resuming cuts a torn row
                self._opened.truncate(end)
            raise self._write_error(error) from error

    def _write_error(self, error: OSError) -> VegrtError:
        saved = f"{self.rows} rows are kept in {self.part}; to resume, repeat the command with --resume"
        state = saved if self.rows else "nothing was left half-written"
        return VegrtError(f"{self.out}: writing failed ({error.strerror or error}); {state}")

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        """Turn the system's errors into a VegrtError of one line."""
        try:
            yield
        except OSError as error:
            raise self._write_error(error) from error
