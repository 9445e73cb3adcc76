"""A folder downloaded from Kaggle is linked and verified, with generated photos; and the error without a network."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.watched_io import failing, watched
from vegrt.dataset.photos import SPLITS
from vegrt.errors import DataError, VegrtError
from vegrt.train.data.public import kaggle
from vegrt.train.data.public.fetch import fetch
from vegrt.train.data.public.kaggle import link_splits, move_splits_up
from vegrt.train.data.public.sets import VEGETABLES, ExpectedCounts, verify_counts

SMALL = ExpectedCounts(2, {"train": 6, "validation": 4, "test": 4}, balanced=True)
COUNTS = {split: {"Bean": count // 2, "Leek": count // 2} for split, count in SMALL.photos.items()}


def fill(root: Path, expected: ExpectedCounts = SMALL) -> Path:
    """Write folders as in Kaggle's archive below `root`, and return `root`."""
    for split, photos in expected.photos.items():
        for label in ("Bean", "Leek"):
            folder = root / "Vegetable Images" / split / label
            folder.mkdir(parents=True)
            for index in range(photos // 2):
                Image.new("RGB", (8, 8), (index, 0, 0)).save(folder / f"{index:04d}.jpg")
    return root


def test_split_folders_at_any_depth_are_hard_linked(tmp_path: Path) -> None:
    source = fill(tmp_path / "cache/versions/1")
    assert link_splits(source, tmp_path / "new/data", SMALL) == COUNTS
    placed = tmp_path / "new/data/train/Bean/0000.jpg"
    assert placed.samefile(source / "Vegetable Images/train/Bean/0000.jpg")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["data"]
    assert (tmp_path / "new/data").stat().st_mode & 0o777 == 0o755


def test_photos_are_copied_where_links_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    source = fill(tmp_path / "cache")
    assert link_splits(source, tmp_path / "data", SMALL) == COUNTS
    copied, original = (root / "test/Leek/0001.jpg" for root in (tmp_path / "data", source / "Vegetable Images"))
    assert copied.read_bytes() == original.read_bytes()
    assert not copied.samefile(original)


def test_an_incomplete_download_is_refused_and_nothing_is_placed(tmp_path: Path) -> None:
    source = fill(tmp_path / "cache")
    (source / "Vegetable Images/test/Leek/0001.jpg").unlink()
    with pytest.raises(DataError, match=r"test/Leek: 1 photos, expected 2; if the download is incomplete, delete"):
        link_splits(source, tmp_path / "data", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_failure_while_placing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(VegrtError, match="No space left on device"):
        link_splits(fill(tmp_path / "cache"), tmp_path / "data", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_wrong_numbers_of_classes_and_foreign_trees_are_refused(tmp_path: Path) -> None:
    root = fill(tmp_path) / "Vegetable Images"
    with pytest.raises(DataError, match="2 classes, expected 15"):
        verify_counts(root, VEGETABLES.expected)
    with pytest.raises(DataError, match="no train/, validation/ and test/"):
        link_splits(root / "train", tmp_path / "data", SMALL)


def test_an_archive_unzipped_by_hand_is_verified_and_moved_up(tmp_path: Path) -> None:
    fill(tmp_path)
    assert move_splits_up(tmp_path, SMALL) == COUNTS
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(SPLITS)
    assert move_splits_up(tmp_path, SMALL) == COUNTS


@pytest.mark.parametrize("number", [1, 2, 3])
def test_moving_up_goes_on_where_it_failed(tmp_path: Path, number: int) -> None:
    fill(tmp_path / "data")
    before, operations = failing(number, errno.EIO)
    with (
        watched(before, [tmp_path / "data"]),
        pytest.raises(VegrtError, match=r"cannot be moved up .*Input/output error.*repeat the command"),
    ):
        move_splits_up(tmp_path / "data", SMALL)
    assert [operation.name for operation in operations] == ["rename"] * number
    assert move_splits_up(tmp_path / "data", SMALL) == COUNTS
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == sorted(SPLITS)


def test_a_folder_with_something_else_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="no train/"):
        fetch(tmp_path, VEGETABLES)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_without_a_network_one_line_gives_instructions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kagglehub", reason="needs the extra fetch", exc_type=ImportError)
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens: refused at once, wherever this test runs
    begin = time.monotonic()
    with pytest.raises(VegrtError) as caught:
        fetch(tmp_path / "data", VEGETABLES)
    assert time.monotonic() - begin < 15
    message = str(caught.value)
    assert "\n" not in message
    for part in ("Connection refused", VEGETABLES.page, "unzip it into", "vegrt data fetch"):
        assert part in message
    assert not (tmp_path / "data").exists()


def test_a_long_answer_from_kaggle_still_makes_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(page: str) -> None:
        raise ValueError("403 Client Error.\n\nYou don't have permission")

    pytest.importorskip("kagglehub", reason="needs the extra fetch", exc_type=ImportError)
    monkeypatch.setattr(kaggle, "check_network", refuse)
    with pytest.raises(VegrtError, match=r"download failed \(403 Client Error\.\); .*/data --name vegetables$"):
        fetch(tmp_path / "data", VEGETABLES)


def test_an_archive_that_cannot_be_moved_up_is_named(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "test").mkdir()
    (tmp_path / "test/mine.txt").write_text("mine")
    with pytest.raises(VegrtError, match="cannot be moved up"):
        move_splits_up(tmp_path, SMALL)
