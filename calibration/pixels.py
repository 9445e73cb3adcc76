"""Decoded photos in memory, so that a run decodes each photo once although it reads most of them many times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.dataset.photos import Photo
from vegrt.errors import DataError
from vegrt.infer.decode.pipeline import batches
from vegrt.photo.contract import Contract
from vegrt.terminal.progress import track

LIMIT_BYTES = 1 << 30  # 7133 photos of 224 x 224 pixels
_DECODED_AT_ONCE = 16


class PixelStore:
    """Pixels of photos, (H, W, 3) uint8, decoded as the contract says.

    Memory: at most `limit_bytes`. Photos that do not fit are decoded again each time they are read.
    """

    def __init__(self, contract: Contract, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.contract = contract
        self._free_bytes = limit_bytes
        self._pixels: dict[Photo, NDArray[np.uint8]] = {}

    def add(self, photos: Sequence[Photo], images: NDArray[np.uint8]) -> None:
        """Store the decoded (N, H, W, 3) images of N photos, as far as memory is left."""
        for photo, image in zip(photos, images, strict=True):
            if photo not in self._pixels and image.nbytes <= self._free_bytes:
                self._pixels[photo] = image.copy()
                self._free_bytes -= image.nbytes

    def has_room_for(self, count: int) -> bool:
        """Return whether so many more photos fit."""
        return count * math.prod(self.contract.shape) <= self._free_bytes

    def read(self, photos: Sequence[Photo]) -> Iterator[NDArray[np.uint8]]:
        """Yield the pixels of each photo in order. Raises DataError for one that can no longer be decoded."""
        for start in range(0, len(photos), _DECODED_AT_ONCE):
            block = photos[start : start + _DECODED_AT_ONCE]
            decoded = self._decode([photo for photo in dict.fromkeys(block) if photo not in self._pixels])
            for photo in block:
                yield decoded[photo] if photo in decoded else self._pixels[photo]

    def _decode(self, photos: Sequence[Photo]) -> dict[Photo, NDArray[np.uint8]]:
        decoded: dict[Photo, NDArray[np.uint8]] = {}
        if not photos:
            return decoded
        for batch in batches([photo.path for photo in photos], self.contract, len(photos)):
            if batch.errors:
                raise DataError(batch.errors[0][1])
            decoded |= zip(photos, batch.images, strict=True)
            self.add(photos, batch.images)
        return decoded


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Labelled photos and where their pixels are: they can be read many times, always in the same order."""

    photos: Sequence[Photo]
    pixels: PixelStore

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def labels(self) -> list[int]:
        """Return the class index of each photo."""
        return [photo.label for photo in self.photos]

    def first(self, count: int) -> PhotoSet:
        """Return the set of the first `count` photos."""
        return PhotoSet(self.photos[:count], self.pixels)

    def batches(self, size: int, *, skip: int = 0, title: str = "") -> Iterator[NDArray[np.uint8]]:
        """Yield the photos without the first `skip` as (N, H, W, 3) uint8 batches, N = size but for the last.

        title: of the progress bar; none without one.
        """
        parts = self._batches(size, skip)
        return iter(track(parts, title, -(-(len(self) - skip) // size))) if title else parts

    def images(self) -> NDArray[np.uint8]:
        """Return all photos as one (N, H, W, 3) array."""
        return np.stack(list(self.pixels.read(self.photos)))

    def _batches(self, size: int, skip: int) -> Iterator[NDArray[np.uint8]]:
        rows: list[NDArray[np.uint8]] = []
        for image in self.pixels.read(self.photos[skip:]):
            rows.append(image)
            if len(rows) == size:
                yield np.stack(rows)
                rows = []
        if rows:
            yield np.stack(rows)
