"""Decoded photos in memory: the pixels are those of the files, each file is decoded once, and memory is bounded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vegrt.calibration.pixels import PhotoSet, PixelStore
from vegrt.dataset.photos import Split, read_split
from vegrt.errors import DataError
from vegrt.photo import preprocess
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image

CONTRACT = Contract(48, 48)
PHOTO_BYTES = 48 * 48 * 3


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded, in order."""
    files: list[Path] = []

    def counting(file: Path, *more: Any) -> Any:
        files.append(file)
        return preprocess.load_image(file, *more)

    monkeypatch.setattr("vegrt.infer.decode.local.load_image", counting)
    return files


def test_photos_are_read_many_times_and_decoded_once(test_split: Split, decoded: list[Path]) -> None:
    photos = PhotoSet(test_split.photos, PixelStore(CONTRACT))
    expected = np.stack([load_image(photo.path, CONTRACT) for photo in test_split.photos])
    for size, skip in ((16, 0), (1, 0), (7, 0), (16, 5)):
        parts = list(photos.batches(size, skip=skip, title="Reading"))
        assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
        assert np.array_equal(np.concatenate(parts), expected[skip:])
    assert np.array_equal(photos.first(3).images(), expected[:3])
    assert photos.first(3).labels == [photo.label for photo in test_split.photos[:3]]
    assert sorted(decoded) == sorted(photo.path for photo in test_split.photos)


def test_photos_that_do_not_fit_are_decoded_again(test_split: Split, decoded: list[Path]) -> None:
    pixels = PixelStore(CONTRACT, limit_bytes=20 * PHOTO_BYTES)
    assert pixels.has_room_for(20)
    assert not pixels.has_room_for(21)
    photos = PhotoSet(test_split.photos, pixels)
    first, again = photos.images(), photos.images()
    assert np.array_equal(first, again)
    assert len(decoded) == 60 + 40
    assert not pixels.has_room_for(1)


def test_a_photo_that_vanished_is_named(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "test", tmp_path / "data/test")
    split = read_split(tmp_path / "data", "test")
    split.photos[3].path.unlink()
    with pytest.raises(DataError, match=str(split.photos[3].path)):
        PhotoSet(split.photos, PixelStore(CONTRACT)).images()
