"""Downloads the public Vegetable Image Dataset from Kaggle into a data folder and verifies its counts."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vegrt.dataset.listing import SplitName
from vegrt.dataset.photos import SPLITS, read_splits
from vegrt.errors import DataError, VegrtError, require
from vegrt.terminal.progress import track

HANDLE = "misrakahmed/vegetable-image-dataset"
PAGE = f"https://www.kaggle.com/datasets/{HANDLE}"
_ANSWER_TIMEOUT_S = 10

Counts = dict[SplitName, dict[str, int]]  # photos by split and class


@dataclass(frozen=True, slots=True)
class ExpectedCounts:
    """The content of a complete data folder. per_class: photos of each class in each split."""

    classes: int
    per_class: Mapping[SplitName, int]


VEGETABLES = ExpectedCounts(15, {"train": 1000, "validation": 200, "test": 200})


def fetch(out: Path) -> Counts:
    """Return the counts of the data set at `out`, downloading it if that folder is missing or empty.

    An interrupted download continues where it stopped. A folder filled by hand is verified; split folders one level down,
    as in Kaggle's archive, are moved up. Raises VegrtError, with instructions, when there is no network.
    """
    if out.is_dir() and any(out.iterdir()):
        return move_splits_up(out, VEGETABLES)
    return link_splits(_download(out), out, VEGETABLES)


def move_splits_up(out: Path, expected: ExpectedCounts) -> Counts:
    """Return the counts of a data folder filled by hand. Raises DataError unless it is complete."""
    root = _splits_below(out)
    counts = verify_counts(root, expected)
    if root == out:
        return counts
    try:
        for split in SPLITS:
            (root / split).rename(out / split)
        if not any(root.iterdir()):
            root.rmdir()
    except OSError as error:
        raise VegrtError(f"{root}: cannot be moved up to {out} ({error.strerror}); move it by hand") from error
    return counts


def link_splits(downloaded: Path, out: Path, expected: ExpectedCounts) -> Counts:
    """Put the split folders found anywhere below `downloaded` at `out`, and return their counts.

    Makes hard links where the file system allows it, else copies. `out` appears complete and verified, or not at all.
    """
    source = _splits_below(downloaded)
    counts = verify_counts(source, expected)
    files = [file for split in SPLITS for file in sorted((source / split).rglob("*")) if file.is_file()]
    temporary = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        for file in track(files, "placing photos"):
            _link_or_copy(file, temporary / file.relative_to(source))
        temporary.chmod(0o755)  # mkdtemp made it private
        temporary.replace(out)
    except OSError as error:
        raise VegrtError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return counts


def verify_counts(data: Path, expected: ExpectedCounts) -> Counts:
    """Return the counts of a data folder. Raises DataError when they differ from the expected ones."""
    counts: Counts = {name: split.counts() for name, split in read_splits(data).items()}
    if (classes_count := len(counts["train"])) != expected.classes:
        raise DataError(f"{data}: {classes_count} classes, expected {expected.classes}; {_remedy(data)}")
    for name, classes in counts.items():
        for label, count in classes.items():
            if count != (expected_count := expected.per_class[name]):
                raise DataError(f"{data / name / label}: {count} photos, expected {expected_count}; {_remedy(data)}")
    return counts


def _download(out: Path) -> Path:
    kagglehub = require("kagglehub", "fetch")
    try:
        check_network()
        return Path(kagglehub.dataset_download(HANDLE))
    except Exception as error:  # kagglehub's, requests' and built-in exceptions have no common base
        cause = (str(getattr(error, "reason", error)) or type(error).__name__).splitlines()[0]
        raise VegrtError(
            f"{HANDLE}: download failed ({cause}); run the command again to resume, or, without a network, "
            f"download {PAGE} elsewhere, unzip it into {out}, then: vegrt data fetch {out}"
        ) from error


def check_network() -> None:
    """Raise OSError within seconds when Kaggle does not answer: kagglehub 1.0 sets no timeout on its first request."""
    try:
        opener = urllib.request.build_opener()  # uses the current proxy settings; urlopen keeps those of its first call
        opener.open(PAGE, timeout=_ANSWER_TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        error.close()  # any HTTP status shows that the server answers


def _splits_below(folder: Path) -> Path:
    """Return the folder with train/, validation/ and test/ in it: `folder`, or the nearest one below it."""
    candidates = [folder, *sorted(path.parent for path in folder.rglob("train"))]
    for candidate in sorted(candidates, key=lambda path: len(path.parts)):
        if all((candidate / split).is_dir() for split in SPLITS):
            return candidate
    raise DataError(f"{folder}: has no train/, validation/ and test/ below it; {_remedy(folder)}")


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # the target is on another file system, or its file system has no links
        shutil.copyfile(source, target)


def _remedy(data: Path) -> str:
    return f"if the download is incomplete, delete {data} and fetch again; otherwise fetch into another folder"
