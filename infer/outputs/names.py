"""The names of the rows in a file, as 8-byte hashes: two million names take 16 MB."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
NO_HASHES: Hashes = np.empty(0, np.uint64)


class NameSet:
    """A set of names by their hashes: among a hundred million names, two collide with a chance of 1 in 3,000."""

    def __init__(self, hashes: Hashes = NO_HASHES) -> None:
        self._hashes = np.sort(hashes).data

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, name: str) -> bool:
        digest = _hash_of(name)
        place = bisect_left(self._hashes, digest)
        return place < len(self._hashes) and self._hashes[place] == digest


def name_hashes(names: Iterable[str]) -> Hashes:
    """Return the (N,) hashes of names, in their order."""
    return np.fromiter(map(_hash_of, names), np.uint64)


def _hash_of(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
