"""What a user may name to `vegrt infer`, as one lazy stream of items: files, folders, globs, lists, archives, URLs, videos.

Everything that is named is checked at once; what is inside is looked at only as it is needed, so that a million photos take no
more memory than one folder's names. What cannot be read inside becomes an item of its own, whose content is the error.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import Event

from vegrt.errors import DataError, VegrtError
from vegrt.files.text import as_utf8, printable
from vegrt.infer.decode.item import Item
from vegrt.infer.sources.folder import open_folder
from vegrt.infer.sources.name_list import read_list, read_stdin

# The modules of rarer kinds of sources are imported where one is named, so that one photo is answered sooner.
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg")
_LIST = ".txt"
_STDIN = "-"
_CAMERA = "camera:"
_WAITING_THREADS = 16  # a fetch waits far longer than it computes


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How sources are read.

    every: take every Nth frame of a video. null: names in lists end with NUL instead of a new line. follow: watch folders until
    `stop` is set. stop: also ends waiting sources, such as stdin and cameras.
    """

    every: int = 1
    null: bool = False
    follow: bool = False
    stop: Event = field(default_factory=Event)


def open_sources(words: Sequence[str | Path], reading: SourceOptions) -> Iterator[Item | None]:
    """Return the items of all sources, in order; None among them means: nothing more for now.

    Raises DataError for a source that does not exist and for a folder or archive without images, MissingExtraError.
    """
    if not reading.follow:
        return chain.from_iterable([_open(os.fspath(word), reading) for word in words])
    folders = [Path(word) for word in words]
    if wrong := [folder for folder in folders if not _is_folder(folder)]:
        raise DataError(f"{wrong[0]}: not a folder; --follow watches folders only")
    from vegrt.infer.sources.watch import watch

    return watch(folders, reading.stop)


def is_endless(words: Sequence[str | Path], reading: SourceOptions) -> bool:
    """Return whether only the user ends the sources: a watched folder or a camera."""
    return reading.follow or any(str(word).startswith(_CAMERA) for word in words)


def is_stdin(words: Sequence[str | Path]) -> bool:
    """Return whether names are read from stdin."""
    return any(os.fspath(word) == _STDIN for word in words)


def is_packed(word: str | Path) -> bool:
    """Return whether a source is one file with many images in it: an archive or a video."""
    return Path(word).is_file() and os.fspath(word).lower().endswith((*_ARCHIVES, *_VIDEOS))


def fetches(words: Sequence[str | Path]) -> bool:
    """Return whether photos come over a network, so that reading them is mostly waiting."""
    return any(_fetches(os.fspath(word)) for word in words)


def reading_threads(words: Sequence[str | Path], threads: int) -> int:
    """Return the number of threads that read and decode; 0 for the usual number. More if they mostly wait for a network."""
    return max(threads, _WAITING_THREADS) if fetches(words) else threads


def _open(word: str, reading: SourceOptions) -> Iterator[Item | None]:
    if word == _STDIN:
        names = read_stdin(null=reading.null, stop=reading.stop)
        return chain.from_iterable(_open_listed(name, reading) for name in names)
    if word.startswith(_CAMERA):
        from vegrt.infer.sources.video import open_camera

        return open_camera(word, word.removeprefix(_CAMERA), reading.every, reading.stop)
    path = Path(word)
    if path.suffix.lower() == _LIST and path.is_file():
        return chain.from_iterable(_open_listed(name, reading) for name in read_list(path, null=reading.null))
    if _is_remote(word) or os.path.lexists(path):
        return _open_one(word, reading)
    if glob.has_magic(word):
        return _open_glob(word, reading)
    raise DataError(f"{printable(path)}: no such file or folder; expected images or folders of images")


def _open_one(word: str, reading: SourceOptions) -> Iterator[Item | None]:
    """Return the items of a source that a list may name too: a file of any kind, a folder, a URL."""
    path = Path(word)
    if _is_remote(word):
        from vegrt.infer.sources.remote import open_remote

        return open_remote(word)
    if _is_folder(path):
        return open_folder(path)
    if word.lower().endswith(_ARCHIVES) and path.is_file():
        from vegrt.infer.sources.archive import open_archive

        return open_archive(path)
    if word.lower().endswith(_VIDEOS) and path.is_file():
        from vegrt.infer.sources.video import open_video

        return open_video(path, reading.every)
    return iter((Item(as_utf8(path), path),))  # of any suffix: a file that is not an image gets an error row


def _open_listed(name: str | None, reading: SourceOptions) -> Iterator[Item | None]:
    """Return the items of one line of a list. An invalid line is one item, its error."""
    if name is None:
        return iter((None,))
    try:
        return _open_one(name, reading)
    except VegrtError as error:
        return iter((Item(as_utf8(Path(name)), DataError(str(error))),))


def _open_glob(word: str, reading: SourceOptions) -> Iterator[Item | None]:
    paths = sorted(glob.iglob(word, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
    if not paths:
        raise DataError(f"{word}: matches nothing; expected a pattern such as 'images/**/*.jpg'")
    files = (path for path in paths if not ("**" in word and _is_folder(Path(path))))  # ** matches their content too
    return chain.from_iterable(_open_listed(path, reading) for path in files)


def _fetches(word: str) -> bool:
    if _is_remote(word):
        return True
    path = Path(word)
    if path.suffix.lower() != _LIST or not path.is_file():
        return False
    with path.open("rb") as file:
        return b"://" in file.readline(4096)


def _is_remote(word: str) -> bool:
    return "://" in word


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir raises where a parent cannot be entered)
