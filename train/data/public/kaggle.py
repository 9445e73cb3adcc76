"""Downloads a data set of Kaggle into a data folder, and verifies its counts."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from vegrt.dataset.photos import SPLITS
from vegrt.errors import DataError, VegrtError, require
from vegrt.files.atomic import creating
from vegrt.terminal.progress import track
from vegrt.train.data.public.sets import Counts, ExpectedCounts, PublicSet, remedy, verify_counts

_ANSWER_TIMEOUT_S = 10


def fetch(out: Path, dataset: PublicSet) -> Counts:
    """Download a data set to the new folder `out`, and return its counts.

    Downloaded files stay in Kaggle's cache; an interrupted download continues where it stopped. Raises VegrtError, with
    instructions, when there is no network.
    """
    return link_splits(_download(out, dataset), out, dataset.expected)


def move_splits_up(out: Path, expected: ExpectedCounts) -> Counts:
    """Return the counts of a data folder filled by hand. Raises DataError unless it is complete."""
    if (rest := _rest_of_a_move(out)) is not None:
        _move_up(rest, out)
    root = _splits_below(out)
    counts = verify_counts(root, expected)
    if root != out:
        _move_up(root, out)
    return counts


def _rest_of_a_move(out: Path) -> Path | None:
    """Return the folder with the splits that an interrupted `move_splits_up` did not move; None if there is none."""
    missing = [split for split in SPLITS if not (out / split).is_dir()]
    if len(missing) in (0, len(SPLITS)):
        return None
    candidates = sorted(path.parent for path in out.rglob(missing[0]) if path.is_dir())
    return next((root for root in candidates if all((root / split).is_dir() for split in missing)), None)


def _move_up(root: Path, out: Path) -> None:
    try:
        for split in SPLITS:
            if (root / split).is_dir():
                (root / split).rename(out / split)
    except OSError as error:
        raise VegrtError(
            f"{root}: cannot be moved up to {out} ({error.strerror}); remove the cause, then repeat the command"
        ) from error
    with suppress(OSError):  # it holds something else
        root.rmdir()


def link_splits(downloaded: Path, out: Path, expected: ExpectedCounts) -> Counts:
    """Put the split folders found anywhere below `downloaded` at `out`, and return their counts.

    Makes hard links where the file system allows it, else copies. `out` appears complete and verified, or not at all.
    """
    source = _splits_below(downloaded)
    counts = verify_counts(source, expected)
    files = [file for split in SPLITS for file in sorted((source / split).rglob("*")) if file.is_file()]
    with creating(out, flushed=False) as folder:
        for file in track(files, "placing photos"):
            _link_or_copy(file, folder / file.relative_to(source))
    return counts


def _download(out: Path, dataset: PublicSet) -> Path:
    kagglehub = require("kagglehub", "fetch")
    try:
        check_network(dataset.page)
        return Path(kagglehub.dataset_download(f"{dataset.repository}/versions/{dataset.revision}"))
    except Exception as error:  # kagglehub's, requests' and built-in exceptions have no common base
        cause = (str(getattr(error, "reason", error)) or type(error).__name__).splitlines()[0]
        raise VegrtError(
            f"{dataset.repository}: download failed ({cause}); run the command again to resume, or, without a network, "
            f"download {dataset.page} elsewhere, unzip it into {out}, then: vegrt data fetch {out} --name {dataset.name}"
        ) from error


def check_network(page: str) -> None:
    """Raise OSError within seconds when Kaggle does not answer: kagglehub 1.0 sets no timeout on its first request."""
    try:
        opener = urllib.request.build_opener()  # uses the current proxy settings; urlopen keeps those of its first call
        opener.open(page, timeout=_ANSWER_TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        error.close()  # any HTTP status shows that the server answers


def _splits_below(folder: Path) -> Path:
    """Return the folder with train/, validation/ and test/ in it: `folder`, or the nearest one below it."""
    candidates = [folder, *sorted(path.parent for path in folder.rglob("train"))]
    for candidate in sorted(candidates, key=lambda path: len(path.parts)):
        if all((candidate / split).is_dir() for split in SPLITS):
            return candidate
    raise DataError(f"{folder}: has no train/, validation/ and test/ below it; {remedy(folder)}")


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # the target is on another file system, or its file system has no links
        shutil.copyfile(source, target)
