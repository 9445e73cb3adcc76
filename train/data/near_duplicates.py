"""Finds thumbnails that show the same scene: compares all pairs, in blocks, by matrix products.

Two photos are near duplicates when their 32x32 RGB thumbnails differ by at most MAX_RMS and by at most MAX_SHARE of
their own contrast. Neither rule alone works on the Vegetable Image Dataset: the distance alone matches different potatoes
on a dark table, the contrast alone matches a potato and a pumpkin on white. The limits were chosen by looking at pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vegrt.terminal.progress import track

SIDE = 32  # height and width of a thumbnail, in pixels
MAX_RMS = 32.0  # root mean square difference over all values of two thumbnails, in [0, 255]
MAX_SHARE = 0.2  # variance of the difference by the sum of both variances; each around the mean of its channel
MAX_MIRRORED_RMS = 10.0  # mirrored photos are edited copies, which are close; a larger limit matches symmetric objects
_CELL = 4  # side of the cells that the search averages before it compares, in pixels
BLOCK_ROWS = 512  # thumbnails in a block, which is compared with BLOCK_COLUMNS others at once: 17 MB of float32
BLOCK_COLUMNS = 8192
PAIRS_AT_ONCE = 2048  # candidate pairs compared by all pixels at once: 25 MB per array

Thumbnails = NDArray[np.uint8]  # (N, SIDE, SIDE, 3) RGB
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class NearPair:
    """The indices of two near thumbnails, left < right. rms: their distance. mirrored: near after a left-right flip of one."""

    left: int
    right: int
    rms: float
    mirrored: bool


def near_pairs(thumbnails: Thumbnails) -> Iterator[NearPair]:
    """Yield every near pair once; as mirrored only if the thumbnails are not near without the flip.

    The result is complete: by Jensen's inequality, the RMS between cell means, which selects candidates, is at most the RMS
    between pixels, which decides. Memory grows neither with N squared nor with the number of pairs; time grows with N squared.
    """
    mirrors = thumbnails[:, :, ::-1]
    cells, mirrored_cells = _cell_means(thumbnails), _cell_means(mirrors)
    for start in track(range(0, len(thumbnails), BLOCK_ROWS), "comparing photos"):
        for left, right in _candidates(cells, cells, start, MAX_RMS):
            rms, near = _compare(thumbnails[left], thumbnails[right], MAX_RMS)
            yield from _list_near(left, right, rms, near, mirrored=False)
        for left, right in _candidates(cells, mirrored_cells, start, MAX_MIRRORED_RMS):
            rms, near = _compare(thumbnails[left], mirrors[right], MAX_MIRRORED_RMS)
            near &= ~_compare(thumbnails[left], thumbnails[right], MAX_RMS)[1]
            yield from _list_near(left, right, rms, near, mirrored=True)


def clusters_of(pairs: Iterable[tuple[int, int]], count: int) -> list[list[int]]:
    """Return the connected groups of `count` items, including single items; each ascending, ordered by their first item."""
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
    cells: NDArray[np.float32], compared_cells: NDArray[np.float32], start: int, limit: float
) -> Iterator[tuple[Indices, Indices]]:
    """Yield index pairs that may be within `limit`: left in the block of rows at `start`, right larger than left."""
    rows = cells[start : start + BLOCK_ROWS]
    row_norms = np.square(rows).sum(1)[:, None]
    bound = 1.01 * limit**2 * cells.shape[1]  # 1 % more for float32's rounding; all pixels decide afterwards
    for column in range(start, len(cells), BLOCK_COLUMNS):
        columns = compared_cells[column : column + BLOCK_COLUMNS]
        distances = rows @ columns.T  # squared, once the next lines have changed it in place
        distances *= -2
        distances += row_norms
        distances += np.square(columns).sum(1)
        left, right = np.divmod(np.flatnonzero(distances <= bound), len(columns))  # faster than nonzero of two axes
        left, right = left + start, right + column
        ascending = right > left
        left, right = left[ascending], right[ascending]
        for first in range(0, len(left), PAIRS_AT_ONCE):
            yield left[first : first + PAIRS_AT_ONCE], right[first : first + PAIRS_AT_ONCE]


def _compare(left: Thumbnails, right: Thumbnails, limit: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the RMS distance of each pair (P,), and whether the pair is near: within `limit` and MAX_SHARE."""
    difference = left.astype(np.int32) - right
    rms = np.sqrt(_mean_square(difference))
    near = rms <= limit
    contrast = _variance(left[near].astype(np.int32)) + _variance(right[near].astype(np.int32))
    near[near] = _variance(difference[near]) <= MAX_SHARE * contrast
    return rms, near


def _variance(values: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the variance (P,) of (P, SIDE, SIDE, 3) values around each channel's mean."""
    means: NDArray[np.float64] = np.einsum("pyxc->pc", values) / SIDE**2
    variance: NDArray[np.float64] = _mean_square(values) - np.square(means).mean(1)
    return variance


def _mean_square(values: NDArray[np.int32]) -> NDArray[np.float64]:
    squares: NDArray[np.int32] = np.einsum(
        "pyxc,pyxc->p", values, values
    )  # at most 3072 * 255^2, which fits into int32
    return squares / (3 * SIDE**2)


def _list_near(
    left: Indices, right: Indices, rms: NDArray[np.float64], near: NDArray[np.bool_], *, mirrored: bool
) -> Iterator[NearPair]:
    for low, high, distance in zip(left[near].tolist(), right[near].tolist(), rms[near].tolist(), strict=True):
        yield NearPair(low, high, distance, mirrored)


def _cell_means(thumbnails: Thumbnails) -> NDArray[np.float32]:
    """Return (N, cells * 3) means over _CELL x _CELL pixels, minus 128, because float32 is most exact around zero."""
    cells = SIDE // _CELL
    means = np.empty((len(thumbnails), cells * cells * 3), np.float32)
    for start in range(0, len(thumbnails), BLOCK_COLUMNS):  # a mirrored view is copied by reshape
        block = slice(start, start + BLOCK_COLUMNS)
        grid = thumbnails[block].reshape(-1, cells, _CELL, cells, _CELL, 3)
        means[block] = grid.mean((2, 4), dtype=np.float32).reshape(-1, cells * cells * 3)
    means -= np.float32(128)
    return means
