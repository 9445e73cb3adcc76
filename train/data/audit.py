"""The dataset audit: what is wrong with the photos of DATA, and which of them show the same scene."""

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
from vegrt.photo.formats import image_size
from vegrt.photo.preprocess import decode
from vegrt.terminal.progress import track
from vegrt.train.data.audit_file import Audit, Pair
from vegrt.train.data.near_duplicates import SIDE, NearPair, Thumbnails, clusters_of, near_pairs

MAX_PAIRS = 500_000  # bounds memory and audit.json where everything looks alike


@dataclass(frozen=True, slots=True)
class _Seen:
    """A readable photo. name: its path below DATA. relative: below its split."""

    name: str
    split: SplitName
    relative: str
    sha256: str
    size_px: tuple[int, int]
    thumbnail: Thumbnails


_Copies = Sequence[_Seen]  # photos of equal bytes


def audit(data: Path) -> Audit:
    """Return the audit of a data folder.

    Raises DataError for a folder that is no data set, or in which more than MAX_PAIRS pairs of photos are near.
    """
    splits = read_splits(data)
    seen, unreadable = _look_at_all(data, list(splits.values()))
    distinct = _group(seen)  # the search compares one photo of each, by its index here
    near = _search(distinct, data)
    scenes = clusters_of([(pair.left, pair.right) for pair in near], len(distinct))
    clusters = [sorted(each.name for index in scene for each in distinct[index]) for scene in scenes]
    usual = Counter(each.size_px for each in seen).most_common(1)[0][0] if seen else (0, 0)
    result = Audit(
        fingerprints={name: split.fingerprint() for name, split in splits.items()},
        counts={name: split.counts() for name, split in splits.items()},
        unreadable=unreadable,
        usual_size_px=list(usual),
        odd_sizes_px={each.name: list(each.size_px) for each in seen if each.size_px != usual},
        exact_duplicates=[[each.name for each in copies] for copies in distinct if len(copies) > 1],
        near_pairs=[_pair(pair, distinct) for pair in near],
        clusters=[cluster for cluster in clusters if len(cluster) > 1],
        leaked_test_images={name: _leaked(name, near, distinct) for name in ("train", "validation")},
    )
    return result


def _look_at_all(data: Path, splits: Sequence[Split]) -> tuple[list[_Seen], dict[str, str]]:
    """Return the readable photos in the order of the splits, and the others' reasons."""
    photos = [(split, photo) for split in splits for photo in split.photos]
    base = base_folder(data)
    names = [as_utf8(photo.path.relative_to(base)) for _, photo in photos]
    with ThreadPoolExecutor() as pool:  # Pillow decodes without the interpreter lock
        looks = pool.map(_look_at, names, *zip(*photos, strict=True))
        results = list(track(looks, "reading photos", len(photos)))
    seen = [each for each in results if isinstance(each, _Seen)]
    return seen, {name: each for name, each in zip(names, results, strict=True) if isinstance(each, str)}


def _look_at(name: str, split: Split, photo: Photo) -> _Seen | str:
    try:
        image = decode(photo.path, shorter_side=SIDE)
        sha256 = content_hash(photo.path)
        size_px = image_size(photo.path)  # decode may have scaled it
    except DataError as error:
        return str(error)
    thumbnail = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)
    return _Seen(name, split.name, split.relative(photo), sha256, size_px, thumbnail)


def _group(seen: Sequence[_Seen]) -> list[_Copies]:
    groups: dict[str, list[_Seen]] = {}
    for each in seen:
        groups.setdefault(each.sha256, []).append(each)
    return list(groups.values())


def _search(distinct: Sequence[_Copies], data: Path) -> list[NearPair]:
    """Return the near pairs, closest first; indices into `distinct`."""
    thumbnails = np.array([copies[0].thumbnail for copies in distinct], np.uint8).reshape(-1, SIDE, SIDE, 3)
    found: list[NearPair] = []
    for pair in near_pairs(thumbnails):
        found.append(pair)
        if len(found) > MAX_PAIRS:
            raise DataError(f"{data}: more than {MAX_PAIRS:,} pairs of photos are alike; thin them out before an audit")
    return sorted(found, key=lambda pair: (pair.rms, pair.left, pair.right))


def _pair(pair: NearPair, distinct: Sequence[_Copies]) -> Pair:
    left, right = distinct[pair.left], distinct[pair.right]
    cross_split = len({each.split for each in (*left, *right)}) > 1
    return Pair(left[0].name, right[0].name, round(pair.rms, 2), pair.mirrored, cross_split)


def _leaked(other: SplitName, near: Sequence[NearPair], distinct: Sequence[_Copies]) -> list[str]:
    """Return the test photos with a near or exact copy in the split `other`: direct copies, not all of a cluster."""
    holds = [any(each.split == other for each in copies) for copies in distinct]
    hit = set(np.flatnonzero(holds).tolist())
    hit |= {pair.left for pair in near if holds[pair.right]} | {pair.right for pair in near if holds[pair.left]}
    return sorted(each.relative for index in hit for each in distinct[index] if each.split == "test")
