"""A folder with train/ and test/ gets a validation split: whole scenes, the same with the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vegrt.dataset.photos import read_split
from vegrt.errors import DataError
from vegrt.train.data.hold_out import hold_out_validation


def write_photo(file: Path, seed: int, brightness: int = 0) -> None:
    """Write a photo unlike that of any other seed; another brightness of a seed is a photo of the same scene."""
    cells = np.random.default_rng(seed).integers(0, 240, (4, 4, 3), np.uint8) + np.uint8(brightness)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(cells).resize((32, 32), Image.Resampling.NEAREST).save(file)


def fill(data: Path, *, scenes: int, test: int = 2) -> Path:
    """Write two classes: so many scenes of two photos in train, and single photos in test."""
    for number, label in enumerate(("Bean", "Leek")):
        for scene in range(scenes):
            for shot in range(2):
                write_photo(data / "train" / label / f"{scene}-{shot}.png", 100 * number + scene, 3 * shot)
        for photo in range(test):
            write_photo(data / "test" / label / f"{photo}.png", 1000 + 100 * number + photo)
    return data


def test_scenes_stay_together_and_the_seed_decides(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", scenes=10)
    held_out = hold_out_validation(data, tmp_path / "a.csv", share=0.3)
    assert (held_out.counts, held_out.left_out) == ({"train": 28, "validation": 12, "test": 4}, 0)
    scenes = {
        name: {(photo.label, photo.path.name[0]) for photo in read_split(tmp_path / "a.csv", name).photos}
        for name in ("train", "validation")
    }
    assert not scenes["train"] & scenes["validation"]
    assert read_split(tmp_path / "a.csv", "validation").counts() == {"Bean": 6, "Leek": 6}
    hold_out_validation(data, tmp_path / "b.csv", share=0.3)
    assert (tmp_path / "b.csv").read_text() == (tmp_path / "a.csv").read_text()
    hold_out_validation(data, tmp_path / "b.csv", share=0.3, seed=1)
    assert (tmp_path / "b.csv").read_text() != (tmp_path / "a.csv").read_text()


def test_scenes_of_test_and_unreadable_photos_are_left_out(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", scenes=4)
    write_photo(data / "test/Bean/again.png", 2, 6)  # a third shot of train/Bean/2-*.png
    (data / "train/Leek/1-0.png").write_bytes(b"\x89PNG cut off")
    held_out = hold_out_validation(data, tmp_path / "split.csv", share=0.25)
    assert (held_out.counts, held_out.left_out) == ({"train": 9, "validation": 4, "test": 5}, 3)
    text = (tmp_path / "split.csv").read_text()
    assert "Bean/2-" not in text
    assert "Leek/1-0" not in text


def test_a_class_of_one_scene_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class Bean: too few scenes in train for two splits, none in validation"):
        hold_out_validation(fill(tmp_path / "data", scenes=1), tmp_path / "split.csv")
    assert not (tmp_path / "split.csv").exists()
