from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from vegrt.dataset import find_split, read_split, read_splits
from vegrt.errors import DataError


def test_labels_follow_sorted_class_names(photos: Path) -> None:
    split = read_split(photos, "test")
    assert split.classes == ("Beet", "Cress", "Eggplant")
    assert split.counts() == {"Beet": 20, "Cress": 20, "Eggplant": 20}
    assert all(photo.path.parent.name == split.classes[photo.label] for photo in split.photos)
    assert split.relative(split.photos[0]) == "Beet/000.jpg"


def test_val_is_accepted_for_validation(photos: Path, tmp_path: Path) -> None:
    for name, source in (("train", "train"), ("val", "validation"), ("test", "test")):
        (tmp_path / name).symlink_to(photos / source)
    assert len(read_splits(tmp_path)["validation"]) == 48
    assert find_split("val") == "validation"
    with pytest.raises(DataError, match="train, validation, test"):
        find_split("holdout")


def test_the_fingerprint_sees_content_and_names(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "data")
    before = read_split(tmp_path / "data", "test").fingerprint()
    assert before == read_split(photos, "test").fingerprint()
    first = tmp_path / "data/test/Beet/000.jpg"
    first.rename(first.with_name("zzz.jpg"))
    renamed = read_split(tmp_path / "data", "test").fingerprint()
    (tmp_path / "data/test/Beet/zzz.jpg").write_bytes(b"other")
    assert len({before, renamed, read_split(tmp_path / "data", "test").fingerprint()}) == 3


def test_what_is_not_the_expected_tree_is_said_in_words(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder; expected DATA/\{train,validation,test\}"):
        read_splits(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no train/ folder"):
        read_splits(tmp_path)
    shutil.copytree(photos, tmp_path / "data")
    shutil.rmtree(tmp_path / "data/test/Cress")
    with pytest.raises(DataError, match=r"Cress missing"):
        read_splits(tmp_path / "data")
    (tmp_path / "data/test/Cress").mkdir()
    with pytest.raises(DataError, match=r"Cress: no photos in it; every class needs some: .*\.jpg"):
        read_splits(tmp_path / "data")
    (tmp_path / "data/validation/Kale").mkdir()
    with pytest.raises(DataError, match="Kale"):
        read_splits(tmp_path / "data")
    for name in ("Cress", "Eggplant"):
        shutil.rmtree(tmp_path / "data/train" / name)
    with pytest.raises(DataError, match="1 class"):
        read_splits(tmp_path / "data")


def test_names_that_are_not_utf8_are_no_obstacle(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "data")
    first = tmp_path / "data/test/Beet/000.jpg"
    first.rename(Path(os.fsdecode(os.fsencode(first.parent) + b"/m\xf6hre.jpg")))
    split = read_split(tmp_path / "data", "test")
    assert len(split.fingerprint()) == 64
    assert split.relative(split.photos[19]) == "Beet/m\\xf6hre.jpg"
