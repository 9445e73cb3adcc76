"""What becomes of the photos themselves after the answer: sorted into folders, copied with the answer drawn on them."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vegrt.errors import DataError, VegrtError
from vegrt.files.text import printable
from vegrt.infer.decode.item import Item
from vegrt.infer.decode.pipeline import Decoded
from vegrt.infer.outputs.placing import check_folder
from vegrt.infer.outputs.rows import AnswerRow, RowFormat
from vegrt.machine import available_cores

log = logging.getLogger(__name__)

# The system's errors that come of one photo or its name. None: not the system's but an encoder's, which calls its own OSError.
_OF_THE_PHOTO = frozenset({None, errno.ENOENT, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})

Pairs = list[tuple[Item, AnswerRow]]


@dataclass(frozen=True, slots=True)
class PhotoOutputs:
    """Folders to fill; None for none of that."""

    annotate: Path | None = None
    sort_into: Path | None = None

    @property
    def any(self) -> bool:
        """Return whether there is anything to do."""
        return self.annotate is not None or self.sort_into is not None

    def check(self) -> None:
        """Raise VegrtError for a folder that cannot be written, before any work."""
        for folder in filter(None, (self.annotate, self.sort_into)):
            check_folder(folder)

    def make(self, part: Decoded, rows: list[AnswerRow], wanted: RowFormat) -> None:
        """Do it for the readable photos of a batch; a photo that has gone since costs a warning. Raises VegrtError."""
        if not self.any:
            return
        pairs = [(item, row) for item, row in zip(part.items, rows, strict=True) if row.ranked]
        if self.sort_into is not None:
            _sort(self.sort_into, pairs)
        if self.annotate is not None:
            _annotate(self.annotate, pairs, wanted)


def _sort(folder: Path, pairs: Pairs) -> None:
    from vegrt.infer.outputs.sort import sort_into

    for item, row in pairs:
        _tried(folder, item, partial(sort_into, folder, item, row.label))


def _annotate(folder: Path, pairs: Pairs, wanted: RowFormat) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from vegrt.infer.outputs.annotate import annotate

    jobs = [partial(_tried, folder, item, partial(annotate, folder, item, row, wanted)) for item, row in pairs]
    with ThreadPoolExecutor(available_cores()) as pool:  # decoding and encoding leave Python's lock
        for result in [pool.submit(job) for job in jobs]:
            result.result()


def _tried(folder: Path, item: Item, make: Callable[[], Path]) -> None:
    """Make one copy. What is wrong with this photo, its name or an encoder costs a warning; what is with the folder, the run."""
    try:
        make()
    except VegrtError as error:
        if not isinstance(error, DataError):
            raise
        _warn(item, error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in _OF_THE_PHOTO:
            where = printable(folder)
            raise VegrtError(
                f"{where}: writing failed ({error.strerror or error}); make room, then repeat it"
            ) from error
        _warn(item, error)


def _warn(item: Item, error: Exception) -> None:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    log.warning("%s: could not be copied (%s)", item.name, " ".join(reason.split()) or type(error).__name__)
