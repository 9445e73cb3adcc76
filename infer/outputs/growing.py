"""Files that grow by whole batches under OUT.part and become OUT by one rename at the end.

A process that is killed leaves an OUT.part that can be read, with at most its last row torn; `resume` cuts that off and goes on.
What else takes a name, such as a part made of a complete file, is whole by then: it is made as OUT.part.new.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vegrt.errors import VegrtError
from vegrt.infer.outputs.rows import AnswerRow


def part_of(out: Path) -> Path:
    """Return where a file lies while it is not complete."""
    return out.with_name(out.name + ".part")


def check_writable(out: Path) -> None:
    """Raise VegrtError unless a file can be made at `out`: said before any work, not after it."""
    probe = _new_of(out)
    if out.is_dir():
        raise VegrtError(f"{out}: cannot be written (it is a folder); choose another place")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with probe.open("ab"):
            pass
        probe.unlink()
        if part_of(out).exists():
            with part_of(out).open("r+b"):
                pass
    except OSError as error:
        raise VegrtError(f"{out}: cannot be written ({error.strerror}); choose another place") from error


def check_absent(out: Path, cure: str) -> None:
    """Raise VegrtError when there is a file at `out`, or rows of a run that has not ended. cure: options that allow it."""
    part = part_of(out)
    if part.exists() and part.stat().st_size:
        raise VegrtError(f"{part}: holds the rows of a run that did not end; {cure}")
    if os.path.lexists(out):
        raise VegrtError(f"{out}: exists; {cure}")


def _new_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.part.new")


class GrowingFile(ABC):
    """One such file. rows: how many it holds."""

    def __init__(self, out: Path) -> None:
        self.out, self.part, self.rows = out, part_of(out), 0
        self._file: IO[bytes] | None = None
        self._is_new = False

    def start(self) -> None:
        """Begin anew, with no rows."""
        with self._failing():
            _new_of(self.out).unlink(missing_ok=True)
            self._file = self.part.open("wb", buffering=0)
        self._is_new = True
        self._write(self.head())

    def resume(self, *, complete: bool = True) -> int:
        """Open what an earlier run left; begin anew if it left nothing. Returns how many whole rows it holds.

        complete: whether a complete file is of that run too. Its rows are gone on with where there is no part, or an empty one.
        """
        if complete and self.out.exists() and not (self.part.exists() and self.part.stat().st_size):
            with self._failing(), self._making(self.part) as new:
                self.reopen(new)
        if not self.part.exists():
            self.start()
        else:
            with self._failing():
                _new_of(self.out).unlink(missing_ok=True)
                self._file = self.part.open("r+b", buffering=0)
            self.rows = self.count()
        return self.rows

    def keep(self, rows: int) -> None:
        """Cut everything behind the first `rows` rows."""
        with self._failing():
            self._opened.truncate(self.end_of(rows))
            self._opened.seek(0, os.SEEK_END)
        if not self._opened.tell():
            self._write(self.head())
        self.rows = rows

    def append(self, rows: Sequence[AnswerRow]) -> None:
        """Write a batch. Raises VegrtError when that fails; the file is then as it was before, without the batch."""
        self._write(self.encode(rows))
        self.rows += len(rows)
        self.appended()

    def finish(self) -> None:
        """Give the complete file its name."""
        with self._failing():
            os.fsync(self._opened.fileno())
            self._opened.close()
            self.publish()

    def close(self) -> None:
        """Leave the file as it is, to be resumed; of a new one without rows nothing is left. May be called after `finish`."""
        if self._file is not None and not self._file.closed:
            self._file.close()
            if self._is_new and not self.rows:
                self.part.unlink(missing_ok=True)

    @abstractmethod
    def head(self) -> bytes:
        """Return what comes before the first row."""

    @abstractmethod
    def encode(self, rows: Sequence[AnswerRow]) -> bytes:
        """Return the rows as the file holds them."""

    @abstractmethod
    def count(self) -> int:
        """Return how many whole rows the open file holds."""

    @abstractmethod
    def end_of(self, rows: int) -> int:
        """Return the position in bytes behind so many rows; 0 when there is not even a head."""

    def appended(self) -> None:
        """Do what must follow a batch."""
        return

    def reopen(self, new: Path) -> None:
        """Write to `new` what the part of the complete file was. That stays until the part takes its place."""
        shutil.copyfile(self.out, new)

    def publish(self) -> None:
        """Make the complete file of the part."""
        self.part.replace(self.out)

    @contextmanager
    def _making(self, target: Path) -> Iterator[Path]:
        """Yield where to write; on success that becomes `target` by one rename, on failure it is removed."""
        new = _new_of(self.out)
        try:
            yield new
            with new.open("rb") as file:
                os.fsync(file.fileno())
            new.replace(target)
        finally:
            new.unlink(missing_ok=True)

    @property
    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise AssertionError("start or resume comes first")
        return self._file

    def _write(self, content: bytes) -> None:
        end = self._opened.tell()
        left = memoryview(content)
        try:
            while left:
                left = left[self._opened.write(left) :]  # unbuffered: a full disk takes a part of it
        except OSError as error:
            self._opened.truncate(end)
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> VegrtError:
        kept = f"{self.rows} rows are kept in {self.part}; to go on, repeat the command with --resume"
        left = kept if self.rows else "nothing was left half-written"
        return VegrtError(f"{self.out}: writing failed ({error.strerror or error}); {left}")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn the system's errors into one line."""
        try:
            yield
        except OSError as error:
            raise self._failed(error) from error
