"""One photo to classify: its name, and where its content is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import DataError

# A file, its bytes, (H, W, 3) uint8 RGB, a function that fetches the bytes, or the reason why there is no photo.
Content = Path | bytes | NDArray[np.uint8] | Callable[[], bytes] | DataError


@dataclass(frozen=True, slots=True)
class Item:
    """One photo of a source. name: as in the rows of the output; bytes that are not UTF-8 are escaped."""

    name: str
    content: Content


def fetched(item: Item) -> Path | bytes | NDArray[np.uint8]:
    """Return the item's content, fetched where it is a function. Raises DataError when there is no photo."""
    content = item.content
    if isinstance(content, DataError):
        raise content
    return content if isinstance(content, (bytes, Path, np.ndarray)) else content()
