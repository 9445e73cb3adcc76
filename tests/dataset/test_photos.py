from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from vegrt.dataset.photos import find_split, image_files, read_split, read_splits
from vegrt.errors import DataError
from vegrt.infer.sources.folder import open_folder
from vegrt.photo.formats import SUFFIXES


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


def test_an_unexpected_tree_is_described(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder; expected DATA/\{train,validation,test\}"):
        read_splits(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no train/ folder"):
        read_splits(tmp_path)
    shutil.copytree(photos, tmp_path / "data")
    shutil.rmtree(tmp_path / "data/test/Cress")
    with pytest.raises(DataError, match=r"Cress is missing"):
        read_splits(tmp_path / "data")
    (tmp_path / "data/test/Cress").mkdir()
    with pytest.raises(DataError, match=r"Cress: no photos; expected at least one in every class: .*\.jpg"):
        read_splits(tmp_path / "data")
    (tmp_path / "data/validation/Kale").mkdir()
    with pytest.raises(DataError, match="Kale"):
        read_splits(tmp_path / "data")
    for name in ("Cress", "Eggplant"):
        shutil.rmtree(tmp_path / "data/train" / name)
    with pytest.raises(DataError, match="1 class"):
        read_splits(tmp_path / "data")


def test_a_message_lists_a_few_of_many_classes(tmp_path: Path) -> None:
    for split, prefix in (("train", "n0"), ("test", "great shark, ")):
        for number in range(100):
            (tmp_path / split / f"{prefix}{number:02d}").mkdir(parents=True)
    train = [f"n0{number:02d}" for number in range(100)]
    with pytest.raises(
        DataError, match=r"class n000, n001, .* and 92 more is missing; .*unknown class great shark, 00; .* more$"
    ):
        read_split(tmp_path, "test", train)


def test_names_that_are_not_utf8_are_no_obstacle(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "data")
    first = tmp_path / "data/test/Beet/000.jpg"
    first.rename(Path(os.fsdecode(os.fsencode(first.parent) + b"/m\xf6hre.jpg")))
    split = read_split(tmp_path / "data", "test")
    assert len(split.fingerprint()) == 64
    assert split.relative(split.photos[19]) == "Beet/m\\xf6hre.jpg"


def small_set(root: Path) -> Path:
    for split in ("train", "validation", "test"):
        for label in ("Beet", "Cress"):
            (root / split / label).mkdir(parents=True)
            (root / split / label / "1.jpg").write_bytes(f"{split}{label}".encode())
    return root


def test_every_suffix_that_infer_reads_is_a_photo_of_a_data_set(tmp_path: Path) -> None:
    beet = small_set(tmp_path / "data") / "train/Beet"
    for suffix in SUFFIXES:
        (beet / f"x{suffix.upper()}").touch()
    assert read_split(tmp_path / "data", "train").counts()["Beet"] == 1 + len(SUFFIXES)


def test_skipped_files_are_counted_and_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = small_set(tmp_path / "data")
    train = data / "train"
    names = (
        "Beet/.ipynb_checkpoints/1-checkpoint.jpg",
        "Beet/.Trash/2.jpg",
        "Beet/._1.jpg",
        ".cache/3.jpg",
        "__MACOSX/Beet/4.jpg",
    )
    for name in (*names, "Beet/Thumbs.db", "Cress/notes.txt", "Cress/more.TXT", "Cress/1.xmp", "readme", "stray.jpg"):
        (train / name).parent.mkdir(parents=True, exist_ok=True)
        (train / name).write_bytes(b"x")
    (train / "Cress/gone.jpg").symlink_to("nowhere")
    (train / "Cress/loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(train / "Cress/pipe.jpg")
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            assert read_split(data, "train").counts() == {"Beet": 1, "Cress": 1}
        read_split(data, "test")
    assert caplog.messages == [
        f"{train}: skipped: 6 hidden, 4 not a photo (.txt, no suffix, .xmp), 1 photo outside a class folder, "
        "2 broken links, 1 pipe or device"
    ]


def test_links_to_files_and_folders_are_photos_and_no_link_leads_in_a_circle(tmp_path: Path) -> None:
    data = small_set(tmp_path / "data")
    beet, elsewhere = data / "train/Beet", tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    for name in ("2.png", "deep/3.png"):
        (elsewhere / name).touch()
    (beet / "more").symlink_to(elsewhere)
    (beet / "same").symlink_to(elsewhere / "deep")  # read already, by another way
    (elsewhere / "deep/back").symlink_to(elsewhere)
    (beet / "up").symlink_to(data)
    (beet / "root").symlink_to("/")
    (beet / "4.jpg").symlink_to(elsewhere / "2.png")
    (data / "train/Dill").symlink_to(elsewhere)
    for other in ("validation", "test"):
        shutil.copytree(elsewhere / "deep", data / other / "Dill", ignore=shutil.ignore_patterns("back"))
    split = read_splits(data)["train"]
    assert split.counts() == {"Beet": 4, "Cress": 1, "Dill": 2}
    names = [split.relative(photo) for photo in split.photos if photo.label == 0]
    assert names == ["Beet/1.jpg", "Beet/4.jpg", "Beet/more/2.png", "Beet/more/deep/3.png"]


def test_infer_finds_in_a_folder_what_a_data_set_counts(tmp_path: Path) -> None:
    beet = small_set(tmp_path / "data") / "train/Beet"
    for name in ("a/b.TIF", "a/.hidden.jpg", ".git/c.jpg", "d.jfif", "e.txt"):
        (beet / name).parent.mkdir(exist_ok=True)
        (beet / name).touch()
    (beet / "linked").symlink_to(tmp_path / "data/test/Beet")
    counted = {photo.path for photo in read_split(tmp_path / "data", "train").photos if photo.label == 0}
    assert {item.content for item in open_folder(beet)} == counted == set(image_files(beet))
    assert len(counted) == 4
