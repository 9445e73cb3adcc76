"""Images that appear in folders: taken once they have stopped growing, until somebody says stop."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

from vegrt.dataset.walk import LeftOut
from vegrt.files.text import as_utf8, printable
from vegrt.infer.decode.item import Item
from vegrt.infer.sources.folder import images

log = logging.getLogger(__name__)

POLL_S = 1.0
_SHARE = 4  # looking takes at most one part in so many of the time

State = tuple[int, int]  # size in bytes, time of the last change in ns


def watch(folders: Sequence[Path], stop: Event, *, poll_s: float = POLL_S) -> Iterator[Item | None]:
    """Yield what is in the folders, then what appears, sorted per look; None after each look. Ends when `stop` is set.

    A file is taken when its size and time were the same in two looks and it is not empty; once more when it changes after that.
    What is remembered is what lies in the folders now: files may come and go for years.
    """
    seen: dict[str, State] = {}
    taken: dict[str, State] = {}
    while True:
        start = time.monotonic()
        present = _look(folders)
        settled = [path for path, state in present.items() if state == seen.get(path) and state[0]]
        fresh = [path for path in settled if taken.get(path) != present[path]]
        yield from (Item(as_utf8(Path(path)), Path(path)) for path in fresh)
        yield None
        taken = {path: state for path, state in taken.items() if path in present}
        taken |= {path: present[path] for path in fresh}
        seen = present
        if stop.wait(max(poll_s, (_SHARE - 1) * (time.monotonic() - start))):
            break
    if left := [path for path, state in _look(folders).items() if taken.get(path) != state]:
        log.warning("%d files were still being written, such as %s; they are left", len(left), printable(Path(left[0])))


def _look(folders: Sequence[Path]) -> dict[str, State]:
    found = {}
    for folder in folders:
        for item in images(folder, LeftOut()):
            if isinstance(item.content, Path):
                try:
                    status = item.content.stat()
                except OSError:  # gone again, or a broken link
                    continue
                found[os.fspath(item.content)] = (status.st_size, status.st_mtime_ns)
    return found
