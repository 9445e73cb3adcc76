"""Opens files by descriptor on every system: the one place that knows which flags and rules of files Windows lacks.

There, no link can be refused by a flag, no folder can be opened, and no open file can be renamed or deleted.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

OPEN_FILES_MOVE = hasattr(os, "O_DIRECTORY")  # False on Windows, where a lock therefore needs a file of its own
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = getattr(os, "O_DIRECTORY", 0)
_HERE = -100  # AT_FDCWD of Linux: relative to the current folder
_RENAME_EXCHANGE = 2  # of <linux/fs.h>


def open_unlinked(path: Path) -> int:
    """Return a descriptor to read a file or folder; opening a named pipe does not wait. Raises OSError, for a link too.

    Where the system cannot refuse links itself, one that replaces the file in this very moment is followed.
    """
    _refuse_link(path)
    return os.open(path, _READ | _NO_LINK)


def open_folder_to_lock(folder: Path, lock_name: str) -> int:
    """Return a descriptor that stands for a folder: of itself or, where folders cannot be opened, of a file in it.

    Raises OSError, NotADirectoryError if it is a file.
    """
    if OPEN_FILES_MOVE:
        return os.open(folder, os.O_RDONLY | _FOLDER)
    if folder.is_file():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return open_lock_file(folder / lock_name)


def open_lock_file(path: Path) -> int:
    """Return a descriptor of a file that is only locked, and made if it is missing. Raises OSError, for a link too."""
    _refuse_link(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)


def exchange(first: Path, second: Path) -> bool:
    """Let two files or folders of one file system swap their names in one step; return False where that is impossible."""
    rename = getattr(_c_library(), "renameat2", None)
    if rename is None:
        return False
    status: int = rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _RENAME_EXCHANGE)
    return status == 0


def _c_library() -> object:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):  # Windows
        return None


def flush(path: Path) -> None:
    """Flush a file's content to disk. Raises OSError."""
    with path.open("rb" if OPEN_FILES_MOVE else "r+b") as file:  # Windows flushes only files that are open for writing
        os.fsync(file.fileno())


def _refuse_link(path: Path) -> None:
    if not _NO_LINK and path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
