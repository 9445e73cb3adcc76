"""audit.json: what an audit found, written and read back. Format vegrt-audit, version 1.

Photos are named by their path below DATA, with slashes.

    fingerprints          split -> SHA-256 over its photos' names and contents; empty where one cannot be opened
    thresholds            what "near" means: see vegrt.train.data.near_duplicates
    counts                split -> class -> files
    unreadable            photo -> reason
    usual_size_px         [width, height] of most photos
    odd_sizes_px          photo -> [width, height], where they differ from the usual
    exact_duplicates      groups of photos with equal bytes; only the first of a group stands in near_pairs
    near_pairs            left, right, rms (of 255), mirrored, cross_split; closest first
    clusters              groups of photos that near pairs and exact duplicates connect
    leaked_test_images    split -> test photos, named below their split, of which it holds a near or exact copy
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vegrt.dataset.photos import SPLITS, Photo, Split, base_folder, read_split
from vegrt.errors import DataError, FormatError
from vegrt.files.text import as_utf8
from vegrt.schema import Count, build, read_json
from vegrt.train.data.near_duplicates import MAX_MIRRORED_RMS, MAX_RMS, MAX_SHARE, SIDE

FORMAT = "vegrt-audit"
FORMAT_VERSION = 1
MAX_BYTES = 1 << 30  # where everything looks alike, of 500,000 pairs


@dataclass(frozen=True, slots=True)
class Pair:
    """Two photos of one scene. cross_split: they, or exact copies of them, lie in different splits."""

    left: str
    right: str
    rms: float
    mirrored: bool
    cross_split: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found. The fields are those of audit.json, described above."""

    fingerprints: dict[str, str]
    counts: dict[str, dict[str, Count]]
    unreadable: dict[str, str]
    usual_size_px: list[int]
    odd_sizes_px: dict[str, list[int]]
    exact_duplicates: list[list[str]]
    near_pairs: list[Pair]
    clusters: list[list[str]]
    leaked_test_images: dict[str, list[str]]

    def __post_init__(self) -> None:
        wanted = (("fingerprints", SPLITS), ("counts", SPLITS), ("leaked_test_images", SPLITS[:2]))
        for name, splits in wanted:
            if missing := [split for split in splits if split not in getattr(self, name)]:
                raise FormatError("is missing", f"{name}.{missing[0]}")

    def to_dict(self) -> dict[str, Any]:
        """Return the content of audit.json."""
        thresholds = {"side_px": SIDE, "max_rms": MAX_RMS, "max_share": MAX_SHARE, "max_mirrored_rms": MAX_MIRRORED_RMS}
        return {"format": FORMAT, "format_version": FORMAT_VERSION, "thresholds": thresholds, **asdict(self)}

    def check(self, split: Split, path: Path | None = None) -> None:
        """Raise DataError unless `split` holds the photos that were audited. path: of audit.json, for the message."""
        if self.fingerprints[split.name] != split.fingerprint():
            raise DataError(
                f"{path or 'audit'}: made for other photos than those in {split.root}; run: vegrt data audit DATA"
            )


@dataclass(frozen=True, slots=True)
class ReportedAudit:
    """The part of an audit that a report shows. Fields with a default may be missing in older files."""

    fingerprints: dict[str, str]
    counts: dict[str, dict[str, Count]]
    near_pairs: list[Pair]
    leaked_test_images: dict[str, list[str]]
    clusters: list[list[str]] = field(default_factory=list)
    exact_duplicates: list[list[str]] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    odd_sizes_px: dict[str, list[int]] = field(default_factory=dict)


def summary_lines(audit: Audit) -> list[str]:
    """Return what was found, one line per kind, for people."""
    photos = ", ".join(f"{name} {sum(counts.values())}" for name, counts in audit.counts.items())
    across = sum(pair.cross_split for pair in audit.near_pairs)
    test = sum(audit.counts["test"].values())
    leaked = {name for names in audit.leaked_test_images.values() for name in names}
    unknown = f"; {len(audit.unreadable)} unreadable photos were not compared" if audit.unreadable else ""
    return [
        f"photos: {photos}",
        f"unreadable: {len(audit.unreadable)}, of another size than {audit.usual_size_px}: {len(audit.odd_sizes_px)}",
        f"exact duplicates: {len(audit.exact_duplicates)} groups",
        f"near duplicates: {len(audit.near_pairs)} pairs in {len(audit.clusters)} scenes, {across} pairs across splits",
        f"leaked: {len(leaked)} of {test} test photos have a near duplicate in train or validation{unknown}",
    ]


def read_audit_file(path: Path) -> Audit:
    """Return the audit in an audit.json. Raises DataError when it is missing, damaged or of another format."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; make it: vegrt data audit DATA")
    try:
        return build(Audit, _read_values(path))
    except (OSError, FormatError) as error:
        raise DataError(f"{path}: damaged audit ({error}); run: vegrt data audit DATA") from error


def read_reported_audit(path: Path) -> ReportedAudit:
    """Return what a report shows of an audit.json. Raises DataError when it is missing, damaged or of another format."""
    try:
        return build(ReportedAudit, _read_values(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); make it: vegrt data audit DATA") from error
    except FormatError as error:
        raise DataError(f"{path}: damaged audit ({error}); run: vegrt data audit DATA") from error


def _read_values(path: Path) -> dict[str, Any]:
    """Return the JSON object in an audit.json. Raises FormatError for another format or version, or OSError."""
    value = read_json(path, limit_bytes=MAX_BYTES)
    known = (value.get("format"), value.get("format_version")) if isinstance(value, dict) else ("no object", "")
    if known != (FORMAT, FORMAT_VERSION):
        raise FormatError(f"is {known[0]!s:.40} {known[1]!s:.20}, expected {FORMAT} {FORMAT_VERSION}")
    return dict(value)


def leaked_test_photos(path: Path, split: Split, trained_on: Mapping[str, str]) -> set[str]:
    """Return the names, as `Split.relative` gives them, of the test photos that leaked from train or validation.

    Validation counts: its photos chose the epoch and the int8 ranges. trained_on: the fingerprints of these two splits
    when the model was trained.
    Raises DataError when `split` is not the test split, or when any of the three is not what was audited.
    """
    if split.name != "test":
        raise DataError(f"{path}: names leaked photos of the test split; {split.name} was asked for")
    audit = read_audit_file(path)
    audit.check(split, path)
    for name, fingerprint in trained_on.items():
        if audit.fingerprints[name] != fingerprint:
            raise DataError(f"{path}: its {name} photos are not those of the training; run: vegrt data audit DATA")
    return {name for other in ("train", "validation") for name in audit.leaked_test_images[other]}


def near_test_photos(path: Path, data: Path, classes: Sequence[str]) -> set[str]:
    """Return the names, as `Split.relative` gives them, of the validation photos that show the scene of a test photo.

    Raises DataError when either split of `data` is not what was audited.
    """
    audit, base = read_audit_file(path), base_folder(data)
    validation, test = read_split(data, "validation", classes), read_split(data, "test", classes)
    audit.check(validation, path)
    audit.check(test, path)

    def name(photo: Photo) -> str:
        return as_utf8(photo.path.relative_to(base))

    copies = {one: group for group in audit.exact_duplicates for one in group}
    tested, near = {name(photo) for photo in test.photos}, set[str]()
    for pair in audit.near_pairs:
        left, right = (set(copies.get(one, [one])) for one in (pair.left, pair.right))
        near |= (right if left & tested else set()) | (left if right & tested else set())
    return {validation.relative(photo) for photo in validation.photos if name(photo) in near}
