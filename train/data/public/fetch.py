"""Fetches a public data set into a data folder with the client of its site, and verifies its counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vegrt.train.data.hold_out import HeldOut, hold_out_validation, read_held_out
from vegrt.train.data.public import hub, kaggle
from vegrt.train.data.public.sets import Counts, PublicSet, verify_counts

SPLIT_FILE = "split.csv"


@dataclass(frozen=True, slots=True)
class FetchedSet:
    """A complete data set. data: what `--data` takes, the folder or the split file in it.

    counts: photos by published split and class. held_out: the validation split, if it was made here; None if it is published.
    """

    data: Path
    counts: Counts
    held_out: HeldOut | None = None


def fetch(out: Path, dataset: PublicSet) -> FetchedSet:
    """Return the data set in the folder `out`, downloading it if that folder is missing or empty.

    An interrupted download continues where it stopped. A folder filled before, or by hand, is verified. A set without a
    validation split gets one in out/split.csv, unless that file exists. Raises VegrtError, with instructions, when there is no
    network.
    """
    filled = out.is_dir() and any(out.iterdir())
    if dataset.site == "Kaggle":
        counts = kaggle.move_splits_up(out, dataset.expected) if filled else kaggle.fetch(out, dataset)
    else:
        counts = verify_counts(out, dataset.expected) if filled else hub.fetch(out, dataset)
    if "validation" in dataset.expected.photos:
        return FetchedSet(out, counts)
    file, photos = out / SPLIT_FILE, sum(dataset.expected.photos.values())
    return FetchedSet(file, counts, read_held_out(file, photos) if file.is_file() else hold_out_validation(out, file))
