"""Calls a function before each file operation of this process below some folders: it may let it pass, wait, fail it, or end all.

Watched: opening, reading (once per opened file), writing and closing files by Python, the functions of `os` that change files,
`os.sendfile`, and the changing statements and the commits of sqlite3; on request also `stat` and listings. Not watched: what
libraries in C, C++ and Rust do by themselves (docs/decisions/0046). A write that fails has written half of its bytes.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sqlite3
import sqlite3.dbapi2
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

GROWING = frozenset(
    {"create", "write", "mkdir", "link", "symlink", "sendfile", "copy", "fsync", "close", "sql", "commit"}
)
_LSTAT = os.lstat
SQL_ERRORS = {
    errno.ENOSPC: "database or disk is full",
    errno.EIO: "disk I/O error",
    errno.EACCES: "attempt to write a readonly database",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. name: such as open, create, write, rename. path: absolute; of a rename or link, the new name.

    named: the files as the caller named them; none for an operation on a descriptor.
    """

    name: str
    path: str
    named: tuple[str, ...] = ()

    @property
    def grows(self) -> bool:
        """Whether a full disk can make it fail."""
        return self.name in GROWING


class Kill(BaseException):
    """The process is to end here, as by SIGKILL."""


Before = Callable[[Operation], BaseException | None]
"""Returns what the operation ends with: None lets it pass, `Kill` ends the process, anything else is raised."""


@dataclass(slots=True)
class Watch:
    """What is watched. before: called in the thread of the operation, by one thread at a time only if it sees to that itself."""

    roots: tuple[str, ...]
    excluded: tuple[str, ...]
    before: Before
    sleeps: Callable[[float], None] | None = None

    def path_of(self, file: Any, dir_fd: int | None = None) -> str | None:
        """Return the absolute path of a file name or descriptor; None if it is not watched."""
        if isinstance(file, int):
            try:
                path = _target(file)
            except OSError:
                return None
        else:
            path = os.fsdecode(file)
            if not path.startswith("/"):
                path = f"{Path.cwd() if dir_fd is None else _target(dir_fd)}/{path}"
        path = os.path.normpath(path)
        return path if _is_below(path, self.roots) and not _is_below(path, self.excluded) else None

    def passes(
        self, name: str, path: str, named: tuple[Any, ...] = (), spoil: Callable[[], object] = lambda: None
    ) -> None:
        """Ask whether the operation may go on. spoil: what it does nevertheless where it fails."""
        error = self.before(Operation(name, path, tuple(os.fsdecode(each) for each in named)))
        if error is None:
            return
        spoil()
        if isinstance(error, Kill):
            os.kill(os.getpid(), signal.SIGKILL)
        raise error


@contextmanager
def watched(
    before: Before,
    roots: Collection[Path],
    excluded: Collection[Path] = (),
    *,
    looks: bool = False,
    sleeps: Callable[[float], None] | None = None,
) -> Iterator[None]:
    """Watch the files below some folders.

    excluded: folders in them that are not watched. looks: `stat`, `lstat` and listings are operations too. sleeps: replaces
    `time.sleep`.
    """
    places = [tuple(os.path.realpath(path) for path in paths) for paths in (roots, excluded)]
    watch = Watch(places[0], places[1], before, sleeps)
    undo = _replaced(watch, looks)
    try:
        yield
    finally:
        for owner, name, original in undo:
            setattr(owner, name, original)


def failing(number: int, error: int | None, *, lasts: bool = False) -> tuple[Before, list[Operation]]:
    """Return a function that fails the operation of this number, from 1, and the list of all operations, which it fills.

    error: an error number; None kills the process. lasts: from then on every operation for which a full disk has no room fails,
    and no other one.
    """
    operations: list[Operation] = []
    lock = threading.Lock()

    def before(operation: Operation) -> BaseException | None:
        with lock:
            operations.append(operation)
            count = len(operations)
        if count == number if not lasts else count >= number > 0 and operation.grows:
            return Kill() if error is None else error_of(operation, error)
        return None

    return before, operations


def error_of(operation: Operation, number: int) -> Exception:
    """Return the exception with which an operation of this process fails."""
    if operation.name in ("sql", "commit", "connect"):
        return sqlite3.OperationalError(SQL_ERRORS[number])
    if len(operation.named) == 2:
        return OSError(number, os.strerror(number), operation.named[0], None, operation.named[1])
    return OSError(number, os.strerror(number), *operation.named)


def _target(descriptor: int) -> str:
    """Return the path of an open file, on Linux."""
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def _exists(path: str) -> bool:
    try:
        _LSTAT(path)
    except OSError:
        return False
    return True


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


class _File(io.FileIO):
    """An opened file, watched."""

    def __init__(self, watch: Watch, path: str, file: Any, mode: str, closefd: bool, opener: Any) -> None:
        self.watch, self.path, self.was_read = watch, path, False
        super().__init__(file, mode, closefd, opener)

    def write(self, data: Any, /) -> int:
        content = memoryview(data).cast("B")
        self.watch.passes("write", self.path, (), lambda: super(_File, self).write(content[: len(content) // 2]))
        return super().write(content)

    def truncate(self, size: int | None = None, /) -> int:
        self.watch.passes("truncate", self.path)
        return super().truncate(size)

    def readinto(self, buffer: Any, /) -> int:
        self._read()
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self._read()
        return super().readall()

    def read(self, size: int | None = -1, /) -> bytes:
        self._read()
        return super().read(-1 if size is None else size)

    def close(self) -> None:
        writes = not self.closed and self.writable()
        super().close()
        if writes:
            self.watch.passes("close", self.path)

    def _read(self) -> None:
        if not self.was_read:
            self.was_read = True
            self.watch.passes("read", self.path)


def _opener(watch: Watch, original: Any) -> Any:
    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        path = watch.path_of(file)
        if path is None:
            return original(file, mode, buffering, encoding, errors, newline, closefd, opener)
        creates = bool(set(mode) & set("wxa"))
        if not isinstance(file, int) and (creates or _exists(path)):
            watch.passes("create" if creates else "open", path, (file,))
        raw = _File(watch, path, file, "".join(letter for letter in mode if letter not in "bt"), closefd, opener)
        if buffering == 0:
            return raw
        kind: Any = io.BufferedReader
        if "+" in mode:
            kind = io.BufferedRandom
        elif creates:
            kind = io.BufferedWriter
        buffer = kind(raw, buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE)
        if "b" in mode:
            return buffer
        text = io.TextIOWrapper(buffer, encoding, errors, newline, line_buffering=buffering == 1)
        text.mode = mode  # type: ignore[misc]
        return text

    return opened


def _of_descriptor(watch: Watch, name: str, original: Any) -> Any:
    def call(descriptor: int, *words: Any, **more: Any) -> Any:
        if (path := watch.path_of(descriptor)) is not None:
            spoil = (
                (lambda: original(descriptor, words[0][: len(words[0]) // 2])) if name == "write" else (lambda: None)
            )
            watch.passes(name, path, (), spoil)
        return original(descriptor, *words, **more)

    return call


def _of_path(watch: Watch, name: str, original: Any) -> Any:
    """Watch a function of one path. What fails anyway is no operation: making a folder that exists, deleting what does not."""

    def call(file: Any, *words: Any, **more: Any) -> Any:
        path = watch.path_of(file, more.get("dir_fd"))
        if path is not None and _exists(path) == (name != "mkdir"):
            watch.passes(name, path, () if isinstance(file, int) else (file,))
        return original(file, *words, **more)

    return call


def _look(watch: Watch, original: Any) -> Any:
    def call(file: Any = ".", *words: Any, **more: Any) -> Any:
        if (path := watch.path_of(file, more.get("dir_fd"))) is not None:
            watch.passes("look", path)
        return original(file, *words, **more)

    return call


def _of_two_paths(watch: Watch, name: str, original: Any) -> Any:
    def call(source: Any, target: Any, **more: Any) -> Any:
        if (path := watch.path_of(target, more.get("dst_dir_fd"))) is not None:
            watch.passes(name, path, (source, target))
        return original(source, target, **more)

    return call


def _os_open(watch: Watch, original: Any) -> Any:
    def opened(file: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        path = watch.path_of(file, dir_fd)
        if path is not None and (flags & os.O_CREAT or _exists(path)):
            watch.passes("create" if flags & os.O_CREAT else "open", path, (file,))
        descriptor: int = original(file, flags, mode, dir_fd=dir_fd)
        return descriptor

    return opened


def _connect(watch: Watch, original: Any) -> Any:
    def connect(database: Any, *words: Any, **more: Any) -> Any:
        path = None if str(database).startswith((":", "file:")) else watch.path_of(database)
        if path is None:
            return original(database, *words, **more)
        place = path
        watch.passes("connect", place)

        class Cursor(sqlite3.Cursor):
            def execute(self, statement: str, *parameters: Any) -> Any:
                first = statement.split(maxsplit=1)[0].upper()
                if first not in ("SELECT", "PRAGMA"):
                    watch.passes("commit" if first == "COMMIT" else "sql", place)
                return super().execute(statement, *parameters)

            def executemany(self, *parameters: Any) -> Any:
                watch.passes("sql", place)
                return super().executemany(*parameters)

        class Connection(sqlite3.Connection):
            def cursor(self, factory: Any = None) -> Any:
                return super().cursor(factory or Cursor)

            def commit(self) -> None:
                if self.in_transaction:
                    watch.passes("commit", place)
                super().commit()

            def __exit__(self, kind: Any, *error: Any) -> Literal[False]:
                if kind is None:
                    self.commit()
                else:
                    self.rollback()
                return False

        return original(database, *words, **{"factory": Connection, **more})

    return connect


def _replaced(watch: Watch, looks: bool) -> list[tuple[Any, str, Any]]:
    """Put the watched functions in place; return what was there."""
    undo: list[tuple[Any, str, Any]] = []

    def put(owner: Any, name: str, made: Callable[[Any], Any]) -> None:
        original = getattr(owner, name)
        undo.append((owner, name, original))
        setattr(owner, name, made(original))

    for owner in (builtins, io):
        put(owner, "open", lambda original: _opener(watch, original))
    put(os, "open", lambda original: _os_open(watch, original))
    for name in ("write", "fsync", "fdatasync", "ftruncate", "sendfile"):
        put(os, name, lambda original, name=name: _of_descriptor(watch, name, original))  # type: ignore[misc]
    paths = {"unlink": "unlink", "remove": "unlink", "mkdir": "mkdir", "rmdir": "rmdir", "truncate": "truncate"}
    for name, shown in {**paths, "chmod": "chmod", "utime": "utime"}.items():
        put(os, name, lambda original, shown=shown: _of_path(watch, shown, original))  # type: ignore[misc]
    for name, shown in {"rename": "rename", "replace": "rename", "link": "link", "symlink": "symlink"}.items():
        put(os, name, lambda original, shown=shown: _of_two_paths(watch, shown, original))  # type: ignore[misc]
    for owner in (sqlite3, sqlite3.dbapi2):
        put(owner, "connect", lambda original: _connect(watch, original))
    for name in ("stat", "lstat", "scandir", "listdir") if looks else ():
        put(os, name, lambda original: _look(watch, original))
    if watch.sleeps is not None:
        put(time, "sleep", lambda original: watch.sleeps)
    return undo
