"""Images that appear in watched folders, taken once they have stopped growing."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

from vegrt.dataset.walk import SkippedFiles
from vegrt.files.text import as_utf8, printable
from vegrt.infer.decode.item import Item
from vegrt.infer.sources.folder import folder_items

log = logging.getLogger(__name__)

POLL_S = 1.0
_SHARE = 4  # scanning takes at most one part in so many of the time

State = tuple[int, int]  # size in bytes, time of the last change in ns


def watch(folders: Sequence[Path], stop: Event, *, poll_s: float = POLL_S) -> Iterator[Item | None]:
    """Yield the images in the folders, then new ones, sorted per scan; None after each scan. Ends when `stop` is set.

    A file is taken when it is not empty and its size and time were equal in two scans, and again when it changes after that.
    Only files that exist now are remembered, so that memory is bounded while files come and go.
    """
    previous: dict[str, State] = {}
    taken: dict[str, State] = {}
    while True:
        start = time.monotonic()
        present = _scan(folders)
        settled = [path for path, state in present.items() if state == previous.get(path) and state[0]]
        fresh = [path for path in settled if taken.get(path) != present[path]]
        yield from (Item(as_utf8(Path(path)), Path(path)) for path in fresh)
        yield None
        taken = {path: state for path, state in taken.items() if path in present}
        taken |= {path: present[path] for path in fresh}
        previous = present
        if stop.wait(max(poll_s, (_SHARE - 1) * (time.monotonic() - start))):
            break
    if unfinished := [path for path, state in _scan(folders).items() if taken.get(path) != state]:
        log.warning(
            "%d files were still being written, such as %s; they are skipped",
            len(unfinished),
            printable(Path(unfinished[0])),
        )


def _scan(folders: Sequence[Path]) -> dict[str, State]:
    states = {}
    for folder in folders:
        for item in folder_items(folder, SkippedFiles()):
            if isinstance(item.content, Path):
                try:
                    status = item.content.stat()
                except OSError:  # gone again, or a broken link
                    continue
                states[os.fspath(item.content)] = (status.st_size, status.st_mtime_ns)
    return states
