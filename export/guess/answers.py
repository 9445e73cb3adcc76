"""What a classifier answers under each contract: every photo is decoded once, and no pixels are answered twice."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vegrt.dataset.photos import Photo
from vegrt.errors import DataError
from vegrt.export.imported.onnx_file import ImportedRunner
from vegrt.machine import available_cores
from vegrt.photo.contract import IMAGENET_MEAN, IMAGENET_STD, Contract
from vegrt.photo.preprocess import decode, prepare

_BATCH = 16
_DECODED_BYTES = 1 << 30  # of decoded photos in memory; the others are decoded again when needed
_PREPARED_BYTES = 256 << 20
_Key = tuple[tuple[float, ...], tuple[float, ...], str, int, bytes]  # mean, std, channels, photo, digest of its pixels


class Photos:
    """Labelled photos, decoded in order when they are first needed. errors: the reasons why others were skipped."""

    def __init__(self, photos: Sequence[Photo]) -> None:
        self._waiting, self._readable = list(photos), list[Photo]()
        self._pool = ThreadPoolExecutor(available_cores())
        self._images: dict[int, Image.Image] = {}
        self._bytes = 0
        self.errors: list[str] = []

    def count(self, wanted: int) -> int:
        """Return how many photos are readable, at most `wanted`; photos are decoded until there are so many."""
        while (missing := wanted - len(self._readable)) > 0 and self._waiting:
            photos, self._waiting = self._waiting[:missing], self._waiting[missing:]
            for photo, image in zip(photos, self._pool.map(_decoded, photos), strict=True):
                if isinstance(image, DataError):
                    self.errors.append(str(image))
                else:
                    self._keep(len(self._readable), image)
                    self._readable.append(photo)
        return min(wanted, len(self._readable))

    def labels(self, count: int) -> NDArray[np.int_]:
        """Return the (count,) classes of the first readable photos."""
        return np.array([photo.label for photo in self._readable[:count]])

    def image(self, index: int) -> Image.Image:
        """Return a readable photo."""
        return self._images[index] if index in self._images else decode(self._readable[index].path)

    def _keep(self, index: int, image: Image.Image) -> None:
        size_bytes = 3 * image.width * image.height
        if self._bytes + size_bytes <= _DECODED_BYTES:
            self._images[index] = image
            self._bytes += size_bytes


def _decoded(photo: Photo) -> Image.Image | DataError:
    try:
        return decode(photo.path)
    except DataError as error:
        return error


class Answers:
    """The logits of a classifier for photos prepared by any contract; computed when they are first asked for.

    computed: number of images that the classifier was given.
    """

    def __init__(self, runner: ImportedRunner, photos: Photos) -> None:
        self.photos, self.computed = photos, 0
        self._runner = runner
        self._digests: dict[tuple[Contract, int], bytes] = {}
        self._prepared: dict[tuple[Contract, int], NDArray[np.uint8]] = {}
        self._logits: dict[_Key, NDArray[np.float32]] = {}
        self._pool = ThreadPoolExecutor(available_cores())

    def logits(self, contract: Contract, count: int) -> NDArray[np.float32]:
        """Return the (count, K) logits for the first readable photos."""
        keys, of_pixels = self._keys(contract, count), _pixels_of(contract)
        missing = [index for index, key in enumerate(keys) if key not in self._logits]
        runner = self._runner.with_contract(contract)
        for start in range(0, len(missing), _BATCH):
            indices = missing[start : start + _BATCH]
            images = list(self._pool.map(lambda index: self._pixels(of_pixels, index), indices))
            self.computed += len(images)
            for index, row in zip(indices, runner.logits(np.stack(images)), strict=True):
                self._logits[keys[index]] = row
        return np.stack([self._logits[key] for key in keys])

    def answered(self, contract: Contract) -> int:
        """Return the number of photos from the first one on whose logits with this contract are there."""
        of_pixels, count = _pixels_of(contract), 0
        while (of_pixels, count) in self._digests and self._key(contract, of_pixels, count) in self._logits:
            count += 1
        return count

    def signature(self, contract: Contract, count: int) -> tuple[_Key, ...]:
        """Return a value that is equal for contracts with which the network is given the same numbers, for the first photos."""
        return tuple(self._keys(contract, count))

    def _keys(self, contract: Contract, count: int) -> list[_Key]:
        while len(self._prepared) * contract.height * contract.width * 3 > _PREPARED_BYTES:
            del self._prepared[next(iter(self._prepared))]
        of_pixels = _pixels_of(contract)
        list(self._pool.map(lambda index: self._digest(of_pixels, index), range(count)))
        return [self._key(contract, of_pixels, index) for index in range(count)]

    def _key(self, contract: Contract, of_pixels: Contract, index: int) -> _Key:
        return contract.mean, contract.std, contract.network_color, index, self._digests[of_pixels, index]

    def _digest(self, contract: Contract, index: int) -> bytes:
        if (contract, index) not in self._digests:
            pixels = self._pixels(contract, index)
            shape = str(pixels.shape).encode()
            self._digests[contract, index] = blake2b(pixels.tobytes() + shape, digest_size=16).digest()
        return self._digests[contract, index]

    def _pixels(self, contract: Contract, index: int) -> NDArray[np.uint8]:
        if (pixels := self._prepared.get((contract, index))) is None:
            pixels = self._prepared[contract, index] = prepare(self.photos.image(index), contract)
        return pixels


def _pixels_of(contract: Contract) -> Contract:
    """Return the contract of the same pixels with a fixed normalisation, which is no part of them."""
    if contract.network_color == "L":
        return replace(contract, mean=(0.0,), std=(1.0,))
    return replace(contract, mean=IMAGENET_MEAN, std=IMAGENET_STD, network_color="RGB")
