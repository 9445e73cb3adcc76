"""Audits a data folder: finds unreadable and odd-sized photos, exact duplicates, and photos of the same scene."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vegrt.dataset.listing import SplitName
from vegrt.dataset.photos import Photo, Split, base_folder, content_hash, read_splits
from vegrt.errors import DataError
from vegrt.files.text import as_utf8
from vegrt.machine import available_cores
from vegrt.photo.formats import image_size
from vegrt.photo.preprocess import decode
from vegrt.terminal.progress import track
from vegrt.train.data.audit_file import Audit, Pair
from vegrt.train.data.near_duplicates import SIDE, NearPair, Thumbnails, clusters_of, near_pairs

_READ_AT_ONCE = 4096  # photos; the thread pool keeps a record of 1.5 kB for each
MAX_PAIRS = 500_000  # limits memory and the size of audit.json when all photos look alike


@dataclass(frozen=True, slots=True)
class _AuditedPhoto:
    """A readable photo. name: its path below DATA. relative: its path below its split. row: of its thumbnail."""

    name: str
    split: SplitName
    relative: str
    sha256: str
    size_px: tuple[int, int]
    row: int


_Copies = Sequence[_AuditedPhoto]  # photos with equal bytes


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The readable photos in groups of equal bytes; near pairs and scenes hold indices of groups. unreadable: photo -> reason."""

    photos: list[_AuditedPhoto]
    unreadable: dict[str, str]
    groups: list[_Copies]
    near: list[NearPair]
    scenes: list[list[int]]

    def clusters(self) -> list[list[str]]:
        """Return the names of the photos of each scene that has more than one."""
        clusters = [sorted(photo.name for index in scene for photo in self.groups[index]) for scene in self.scenes]
        return [cluster for cluster in clusters if len(cluster) > 1]


def audit(data: Path) -> Audit:
    """Return the audit of a data folder.

    Raises DataError for a folder that is not a data set, or that has more than MAX_PAIRS near pairs.
    """
    splits = read_splits(data)
    compared = _compare(data, list(splits.values()))
    photos, groups, near = compared.photos, compared.groups, compared.near
    usual = Counter(photo.size_px for photo in photos).most_common(1)[0][0] if photos else (0, 0)
    return Audit(
        fingerprints={name: split.fingerprint() for name, split in splits.items()},
        counts={name: split.counts() for name, split in splits.items()},
        unreadable=compared.unreadable,
        usual_size_px=list(usual),
        odd_sizes_px={photo.name: list(photo.size_px) for photo in photos if photo.size_px != usual},
        exact_duplicates=[[photo.name for photo in copies] for copies in groups if len(copies) > 1],
        near_pairs=[_pair(pair, groups) for pair in near],
        clusters=compared.clusters(),
        leaked_test_images={name: _leaked(name, near, groups) for name in ("train", "validation")},
    )


def find_scenes(data: Path, splits: Sequence[Split]) -> tuple[list[list[str]], dict[str, str]]:
    """Return the groups of photos of one scene, and the reason for each unreadable photo, of any splits of a data folder.

    Photos are named by their path below DATA. Raises DataError as `audit` does.
    """
    compared = _compare(data, splits)
    return compared.clusters(), compared.unreadable


def _compare(data: Path, splits: Sequence[Split]) -> _Comparison:
    photos, unreadable, thumbnails = _read_all(data, splits)
    groups = _group_by_content(photos)  # the search compares the first photo of each group
    near = _find_near_pairs(_first_thumbnails(groups, thumbnails), data)
    scenes = clusters_of([(pair.left, pair.right) for pair in near], len(groups))
    return _Comparison(photos, unreadable, groups, near, scenes)


def _read_all(data: Path, splits: Sequence[Split]) -> tuple[list[_AuditedPhoto], dict[str, str], Thumbnails]:
    """Return the readable photos in the order of the splits, the reason for each unreadable one, and all thumbnails."""
    photos = [(split, photo) for split in splits for photo in split.photos]
    base = base_folder(data)
    names = [as_utf8(photo.path.relative_to(base)) for _, photo in photos]
    thumbnails = np.empty((len(photos), SIDE, SIDE, 3), np.uint8)
    readable: list[_AuditedPhoto] = []
    unreadable: dict[str, str] = {}

    def read(row: int) -> _AuditedPhoto | str:
        return _read(names[row], *photos[row], row, thumbnails)

    with ThreadPoolExecutor(available_cores()) as pool:  # Pillow decodes without the interpreter lock
        for start in track(range(0, len(photos), _READ_AT_ONCE), "reading photos"):
            rows = range(start, min(start + _READ_AT_ONCE, len(photos)))
            for row, result in zip(rows, pool.map(read, rows), strict=True):
                if isinstance(result, str):
                    unreadable[names[row]] = result
                else:
                    readable.append(result)
    return readable, unreadable, thumbnails


def _read(name: str, split: Split, photo: Photo, row: int, thumbnails: Thumbnails) -> _AuditedPhoto | str:
    """Return the photo, with its thumbnail in a row of `thumbnails`, or the reason why it cannot be read."""
    try:
        image = decode(photo.path, shorter_side=SIDE)
        sha256 = content_hash(photo.path)
        size_px = image_size(photo.path)  # decode may have scaled it
    except DataError as error:
        return str(error)
    thumbnails[row] = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    return _AuditedPhoto(name, split.name, split.relative(photo), sha256, size_px, row)


def _group_by_content(photos: Sequence[_AuditedPhoto]) -> list[_Copies]:
    groups: dict[str, list[_AuditedPhoto]] = {}
    for photo in photos:
        groups.setdefault(photo.sha256, []).append(photo)
    return list(groups.values())


def _first_thumbnails(groups: Sequence[_Copies], thumbnails: Thumbnails) -> Thumbnails:
    """Return the thumbnails of the first photo of each group, moved to the beginning of `thumbnails`, which takes no memory."""
    rows = [copies[0].row for copies in groups]  # ascending, so that no row is overwritten before it is moved
    for start in range(0, len(rows), _READ_AT_ONCE):
        block = rows[start : start + _READ_AT_ONCE]
        thumbnails[start : start + len(block)] = thumbnails[block]
    return thumbnails[: len(rows)]


def _find_near_pairs(thumbnails: Thumbnails, data: Path) -> list[NearPair]:
    """Return the near pairs, closest first, as indices of the thumbnails."""
    pairs: list[NearPair] = []
    for pair in near_pairs(thumbnails):
        pairs.append(pair)
        if len(pairs) > MAX_PAIRS:
            raise DataError(
                f"{data}: more than {MAX_PAIRS:,} pairs of photos are near duplicates; remove duplicates before the audit"
            )
    return sorted(pairs, key=lambda pair: (pair.rms, pair.left, pair.right))


def _pair(pair: NearPair, groups: Sequence[_Copies]) -> Pair:
    left, right = groups[pair.left], groups[pair.right]
    cross_split = len({photo.split for photo in (*left, *right)}) > 1
    return Pair(left[0].name, right[0].name, round(pair.rms, 2), pair.mirrored, cross_split)


def _leaked(split: SplitName, near: Sequence[NearPair], groups: Sequence[_Copies]) -> list[str]:
    """Return the test photos that have a near or exact duplicate in `split` themselves, not only through their cluster."""
    in_split = [any(photo.split == split for photo in copies) for copies in groups]
    leaked = set(np.flatnonzero(in_split).tolist())
    leaked |= {pair.left for pair in near if in_split[pair.right]} | {
        pair.right for pair in near if in_split[pair.left]
    }
    return sorted(photo.relative for index in leaked for photo in groups[index] if photo.split == "test")
