"""The user's cache: files that can be made again, in a folder that only their user can enter, bounded in size.

A cache is never the reason for a failure: what cannot be read is made again, and what cannot be written is not stored.
"""

from __future__ import annotations

import logging
import os
import stat
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vegrt.errors import VegrtError
from vegrt.files.atomic import replacing

log = logging.getLogger(__name__)

_CRC_BYTES = 4


def cache_home() -> Path:
    """Return vegrt's folder in the user's cache (XDG Base Directory Specification). Raises VegrtError without a home folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vegrt"
    except RuntimeError as error:
        raise VegrtError(
            f"cache: no home folder ({error}); set XDG_CACHE_HOME to a folder that can be written"
        ) from error


def cache_size_bytes() -> int:
    """Return the size of all files in vegrt's part of the user's cache. Raises VegrtError without a home folder."""
    total = 0
    for folder, _, names in os.walk(cache_home()):
        for name in names:
            with suppress(OSError):  # deleted meanwhile
                total += Path(folder, name).lstat().st_size
    return total


@dataclass(frozen=True, slots=True)
class UserCache:
    """A folder of files by key. limit_bytes: of all files; beyond it those are deleted that were not used for the longest time.

    Safe with several processes: a file appears by a rename. Each ends with the CRC-32 of its content, 4 bytes, little-endian.
    """

    folder: Path
    limit_bytes: int

    def get(self, key: str) -> bytes | None:
        """Return the content stored under a key; None if there is none or it is damaged, which deletes it."""
        file = self.folder / key
        try:
            if not self._is_private():
                return None
            content = file.read_bytes()
            if not _is_intact(content):
                log.debug("%s: damaged; deleted", file)
                file.unlink(missing_ok=True)
                return None
        except OSError:
            return None
        with suppress(OSError):  # a cache that can only be read is of use too
            os.utime(file)  # used now
        return content[:-_CRC_BYTES]

    def put(self, key: str, content: bytes) -> bool:
        """Store content under a key, then delete old files to keep to the limit; return whether it was stored.

        Content of more than a quarter of the limit is not stored: one file must not displace all others.
        """
        if len(content) > self.limit_bytes // 4:
            return False
        try:
            self.folder.mkdir(0o700, parents=True, exist_ok=True)
            if not self._is_private():
                log.debug("%s: others may write there; not used", self.folder)
                return False
            with replacing(self.folder / key) as temporary, temporary.open("wb") as file:
                file.write(content)
                file.write(zlib.crc32(content).to_bytes(_CRC_BYTES, "little"))
            self._trim()
        except (OSError, VegrtError) as error:
            log.debug("%s: not stored (%s)", self.folder / key, error)
            return False
        return True

    def remove(self, key: str) -> None:
        """Delete what is stored under a key, if it can be deleted."""
        try:
            (self.folder / key).unlink(missing_ok=True)
        except OSError as error:
            log.debug("%s: not deleted (%s)", self.folder / key, error)

    def _trim(self) -> None:
        files = sorted(self._files(), reverse=True)  # the latest use first
        total = 0
        for _, size, path in files:
            total += size
            if total > self.limit_bytes:
                path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[float, int, Path]]:
        """Return the time of the last use, the size in bytes and the path of each file."""
        files = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process trims too
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        files.append((status.st_mtime, status.st_size, Path(entry.path)))
        return files

    def _is_private(self) -> bool:
        """Return whether the folder is the user's own and nobody else can write to it. Raises OSError if it is missing."""
        status = self.folder.lstat()
        is_own = not hasattr(os, "geteuid") or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)
        return stat.S_ISDIR(status.st_mode) and is_own


def _is_intact(content: bytes) -> bool:
    crc = int.from_bytes(content[-_CRC_BYTES:], "little")
    return len(content) > _CRC_BYTES and zlib.crc32(memoryview(content)[:-_CRC_BYTES]) == crc
