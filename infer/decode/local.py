"""Decodes runs in the thread that calls: the fetched bytes or the file of each item become the pixels of its row."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vegrt.errors import DataError
from vegrt.infer.decode.item import Item, fetched
from vegrt.infer.decode.ring import Run
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image, prepare


def decode_rows(run: Run, rows: Iterable[int], contract: Contract, *, keep: bool) -> dict[int, str]:
    """Decode these rows of a run into its buffer; return the reason for each that is no photo.

    keep: whether items keep what was fetched or unpacked; otherwise only paths stay.
    """
    items, buffer, errors = run.slot.items, run.slot.buffer, {}
    for row in rows:
        item = items[row]
        try:
            content = fetched(item)
            buffer[row] = _pixels(item.name, content, contract)
        except DataError as error:
            errors[row] = reason_of(error)
            continue
        if not isinstance(content, Path):
            items[row] = Item(item.name, content if keep else b"")
    return errors


def reason_of(error: DataError) -> str:
    """Return the error's message as text that UTF-8 can hold: it may name a file in bytes that are not UTF-8."""
    return str(error).encode("utf-8", "backslashreplace").decode()


def _pixels(name: str, content: Path | bytes | NDArray[np.uint8], contract: Contract) -> NDArray[np.uint8]:
    if isinstance(content, np.ndarray):
        return prepare(Image.fromarray(content), contract)
    return load_image(content, contract, name)
