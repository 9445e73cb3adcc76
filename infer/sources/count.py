"""The number of photos of the sources, as far as it is known before the first one is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from vegrt.errors import DataError, VegrtError
from vegrt.infer.decode.item import Item
from vegrt.infer.sources.open import SourceOptions, is_endless, is_stdin

LIMIT = 4096  # photos after which a second of loading matters little: 1 s by 4096 is a quarter of a millisecond


@dataclass(frozen=True, slots=True)
class PhotoCount:
    """A number of photos. more: whether there may be more than that, because counting ended at the limit."""

    images: int
    more: bool = False


def count_photos(
    items: Iterator[Item | None], words: Sequence[str | Path], reading: SourceOptions, *, limit: int = LIMIT
) -> tuple[Iterator[Item | None], PhotoCount | None]:
    """Return all items, and their number; None where it is not known yet.

    The names are listed once: the items that were counted come first again. Only files are counted: the photos of archives,
    videos and URLs are not known before they are read, nor is what a camera, stdin or a watched folder will give.
    """
    if is_endless(words, reading) or is_stdin(words):
        return items, None
    listed: list[Item | None] = []
    try:
        for item in islice(items, limit):
            listed.append(item)
            if item is None or not isinstance(item.content, Path | DataError):
                return chain(listed, items), None
    except VegrtError as error:  # raised again where it was: what comes before it is answered first
        return chain(listed, _raising(error)), None
    images = sum(item is not None and isinstance(item.content, Path) for item in listed)
    count = PhotoCount(images, more=len(listed) == limit) if images else None
    return chain(listed, items), count


def _raising(error: VegrtError) -> Iterator[Item | None]:
    raise error
    yield  # makes it a generator
