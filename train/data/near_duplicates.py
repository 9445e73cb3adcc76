"""Which thumbnails show the same scene: exact distances between all pairs, found by blocked matrix products.

Two photos are near duplicates when their 32x32 RGB thumbnails differ by at most MAX_RMS and by at most MAX_SHARE of
their own contrast. Either rule alone fails on the Vegetable Image Dataset: by distance alone, different potatoes on one
dim table are near; by contrast alone, a potato and a pumpkin on white are. The limits were set by looking at pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.terminal.progress import track

SIDE = 32  # pixels of a thumbnail's side
MAX_RMS = 32.0  # root mean square difference over all values of two thumbnails, of 255
MAX_SHARE = 0.2  # of the sum of both variances: the difference's variance, each channel's mean removed
MAX_MIRRORED_RMS = 10.0  # only an edited copy is mirrored, and that is close; beyond, symmetric objects meet
_CELL = 4  # pixels of a side that the search averages before it compares
_ROWS = 512  # thumbnails compared with all others at once: 512 x 21,000 float32 are 43 MB
_CHECKS = 2048  # candidate pairs compared in full at once: 25 MB an array

Thumbnails = NDArray[np.uint8]  # (N, SIDE, SIDE, 3) RGB
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two near thumbnails, left < right. rms: their distance, of 255. mirrored: once one is flipped left to right."""

    left: int
    right: int
    rms: float
    mirrored: bool


def near_pairs(thumbnails: Thumbnails) -> Iterator[NearPair]:
    """Yield every near pair once; mirrored only where the thumbnails are not near as they are.

    None is missed: by Jensen's inequality the RMS between cell means, which the matrix product compares, is at most
    that between pixels, which decides. Memory does not grow with N squared, nor with the pairs found.
    """
    mirrors = thumbnails[:, :, ::-1]
    cells, mirrored_cells = _cell_means(thumbnails), _cell_means(mirrors)
    for start in track(range(0, len(thumbnails), _ROWS), "comparing photos"):
        for left, right in _candidates(cells, cells, start, MAX_RMS):
            yield from _listed(left, right, *_judge(thumbnails[left], thumbnails[right], MAX_RMS), mirrored=False)
        for left, right in _candidates(cells, mirrored_cells, start, MAX_MIRRORED_RMS):
            rms, near = _judge(thumbnails[left], mirrors[right], MAX_MIRRORED_RMS)
            near &= ~_judge(thumbnails[left], thumbnails[right], MAX_RMS)[1]
            yield from _listed(left, right, rms, near, mirrored=True)


def clusters_of(pairs: Iterable[tuple[int, int]], count: int) -> list[list[int]]:
    """Return the groups that `pairs` connect among `count` items, singles too, ascending and ordered by their first."""
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = item = parent[parent[item]]
        return item

    for left, right in pairs:
        low, high = sorted((root(left), root(right)))
        parent[high] = low
    groups: dict[int, list[int]] = {}
    for item in range(count):
        groups.setdefault(root(item), []).append(item)
    return list(groups.values())


def _candidates(
    cells: NDArray[np.float32], others: NDArray[np.float32], start: int, limit: float
) -> Iterator[tuple[Indices, Indices]]:
    """Yield index pairs, left in the block of rows at `start` and right above left, that may be within `limit`."""
    rows, columns = cells[start : start + _ROWS], others[start:]
    norms = np.square(rows).sum(1)[:, None] + np.square(columns).sum(1)
    bound = 1.01 * limit**2 * cells.shape[1]  # 1 % for float32: every doubt is settled in full afterwards
    left, right = np.nonzero(norms - 2 * (rows @ columns.T) <= bound)
    above = right > left
    left, right = left[above] + start, right[above] + start
    for first in range(0, len(left), _CHECKS):
        yield left[first : first + _CHECKS], right[first : first + _CHECKS]


def _judge(one: Thumbnails, two: Thumbnails, limit: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the RMS distance of each pair (P,), and whether it is near: at most `limit` and MAX_SHARE."""
    difference = one.astype(np.int32) - two
    rms = np.sqrt(_mean_square(difference))
    near = rms <= limit
    contrast = _variance(one[near].astype(np.int32)) + _variance(two[near].astype(np.int32))
    near[near] = _variance(difference[near]) <= MAX_SHARE * contrast
    return rms, near


def _variance(values: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the variance (P,) of (P, SIDE, SIDE, 3) values around each channel's mean."""
    means: NDArray[np.float64] = np.einsum("pyxc->pc", values) / SIDE**2
    variance: NDArray[np.float64] = _mean_square(values) - np.square(means).mean(1)
    return variance


def _mean_square(values: NDArray[np.int32]) -> NDArray[np.float64]:
    squares: NDArray[np.int32] = np.einsum("pyxc,pyxc->p", values, values)  # at most 3072 * 255^2: fits
    return squares / (3 * SIDE**2)


def _listed(
    left: Indices, right: Indices, rms: NDArray[np.float64], near: NDArray[np.bool_], *, mirrored: bool
) -> Iterator[NearPair]:
    for one, two, distance in zip(left[near].tolist(), right[near].tolist(), rms[near].tolist(), strict=True):
        yield NearPair(one, two, distance, mirrored)


def _cell_means(thumbnails: Thumbnails) -> NDArray[np.float32]:
    """Return (N, cells * 3) means over _CELL x _CELL pixels, around zero, where float32 rounds least."""
    cells = SIDE // _CELL
    grid = thumbnails.reshape(-1, cells, _CELL, cells, _CELL, 3)
    means: NDArray[np.float32] = grid.mean((2, 4), dtype=np.float32).reshape(-1, cells * cells * 3)
    return means - np.float32(128)
