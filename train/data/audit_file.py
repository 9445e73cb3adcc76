"""The file audit.json: results of an audit, written and read. Format vegrt-audit, version 1.

Photos are named by their path below DATA, with slashes.

    fingerprints          split -> SHA-256 over the names and contents of its photos; empty when a photo cannot be opened
    thresholds            limits for near pairs: see vegrt.train.data.near_duplicates
    counts                split -> class -> files
    unreadable            photo -> reason
    usual_size_px         [width, height] of most photos
    odd_sizes_px          photo -> [width, height], for photos of another size
    exact_duplicates      groups of photos with equal bytes; near_pairs lists only the first of a group
    near_pairs            left, right, rms (of 255), mirrored, cross_split; closest first
    clusters              groups of photos that near pairs and exact duplicates connect
    leaked_test_images    split -> test photos (paths below test/) with a near or exact duplicate in that split
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vegrt.dataset.photos import SPLITS, Photo, Split, base_folder, read_split
from vegrt.errors import DataError, FormatError
from vegrt.files.text import as_utf8, printable
from vegrt.schema import Count, build, read_json
from vegrt.train.data.near_duplicates import MAX_MIRRORED_RMS, MAX_RMS, MAX_SHARE, SIDE

FORMAT = "vegrt-audit"
FORMAT_VERSION = 1
MAX_BYTES = 1 << 30  # enough for 500,000 pairs, the most that an audit lists


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
    """The results of an audit. The fields are those of audit.json, described above."""

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
        required = (("fingerprints", SPLITS), ("counts", SPLITS), ("leaked_test_images", SPLITS[:2]))
        for name, splits in required:
            if missing := [split for split in splits if split not in getattr(self, name)]:
                raise FormatError("is missing", f"{name}.{missing[0]}")

    def to_dict(self) -> dict[str, Any]:
        """Return the content of audit.json."""
        thresholds = {"side_px": SIDE, "max_rms": MAX_RMS, "max_share": MAX_SHARE, "max_mirrored_rms": MAX_MIRRORED_RMS}
        return {"format": FORMAT, "format_version": FORMAT_VERSION, "thresholds": thresholds, **asdict(self)}

    def check(self, split: Split, path: Path | None = None) -> None:
        """Raise DataError unless `split` has the photos that were audited. path: the audit.json to name in the message."""
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
    """Return the results as text, one line per kind."""
    photos = ", ".join(f"{name} {sum(counts.values())}" for name, counts in audit.counts.items())
    across = sum(pair.cross_split for pair in audit.near_pairs)
    test = sum(audit.counts["test"].values())
    leaked = {name for names in audit.leaked_test_images.values() for name in names}
    not_compared = f"; {len(audit.unreadable)} unreadable photos were not compared" if audit.unreadable else ""
    return [
        f"photos: {photos}",
        f"unreadable: {len(audit.unreadable)}, size other than {audit.usual_size_px}: {len(audit.odd_sizes_px)}",
        f"exact duplicates: {len(audit.exact_duplicates)} groups",
        f"near duplicates: {len(audit.near_pairs)} pairs in {len(audit.clusters)} scenes, {across} pairs across splits",
        f"leaked: {len(leaked)} of {test} test photos have a near duplicate in train or validation{not_compared}",
    ]


def read_audit_file(path: Path) -> Audit:
    """Return the audit in an audit.json. Raises DataError when it is missing, damaged or of another format."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; create it: vegrt data audit DATA")
    try:
        return build(Audit, _read_values(path))
    except (OSError, FormatError) as error:
        raise DataError(f"{path}: damaged audit ({error}); run: vegrt data audit DATA") from error


def read_reported_audit(path: Path) -> ReportedAudit:
    """Return the part of an audit.json that a report shows. Raises DataError when it is missing, damaged or of another format."""
    try:
        return build(ReportedAudit, _read_values(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); create it: vegrt data audit DATA") from error
    except FormatError as error:
        raise DataError(f"{path}: damaged audit ({error}); run: vegrt data audit DATA") from error


def _read_values(path: Path) -> dict[str, Any]:
    """Return the JSON object in an audit.json. Raises FormatError for another format or version, or OSError."""
    value = read_json(path, limit_bytes=MAX_BYTES)
    file_format = (value.get("format"), value.get("format_version")) if isinstance(value, dict) else ("no object", "")
    if file_format != (FORMAT, FORMAT_VERSION):
        name, version = (printable(str(part)) for part in file_format)
        raise FormatError(f"is {name:.40} {version:.20}, expected {FORMAT} {FORMAT_VERSION}")
    return dict(value)


def leaked_test_photos(path: Path, split: Split, trained_on: Mapping[str, str]) -> set[str]:
    """Return the names, as in `Split.relative`, of the test photos with duplicates in train or validation.

    Validation counts, because its photos determined the best epoch and the int8 ranges. trained_on: fingerprints of these
    two splits when the model was trained.
    Raises DataError when `split` is not the test split, or when one of the three splits differs from the audited one.
    """
    if split.name != "test":
        raise DataError(f"{path}: lists leaked photos of the test split only, not of {split.name}; use the test split")
    audit = read_audit_file(path)
    audit.check(split, path)
    for name, fingerprint in trained_on.items():
        if audit.fingerprints[name] != fingerprint:
            raise DataError(
                f"{path}: its {name} photos are not those that the model was trained with; run: vegrt data audit DATA"
            )
    return {name for source in ("train", "validation") for name in audit.leaked_test_images[source]}


def near_test_photos(path: Path, data: Path, classes: Sequence[str]) -> set[str]:
    """Return the names, as in `Split.relative`, of the validation photos that show the scene of a test photo.

    Raises DataError when one of these splits of `data` differs from the audited one.
    """
    audit, base = read_audit_file(path), base_folder(data)
    validation, test = read_split(data, "validation", classes), read_split(data, "test", classes)
    audit.check(validation, path)
    audit.check(test, path)

    def name(photo: Photo) -> str:
        return as_utf8(photo.path.relative_to(base))

    copies = {photo: group for group in audit.exact_duplicates for photo in group}
    tested, near = {name(photo) for photo in test.photos}, set[str]()
    for pair in audit.near_pairs:
        left, right = (set(copies.get(photo, [photo])) for photo in (pair.left, pair.right))
        near |= (right if left & tested else set()) | (left if right & tested else set())
    return {validation.relative(photo) for photo in validation.photos if name(photo) in near}
