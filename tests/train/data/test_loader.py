from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vegrt.dataset.photos import read_split
from vegrt.errors import DataError
from vegrt.photo.contract import Contract, Fit
from vegrt.photo.preprocess import load_image
from vegrt.train.data.loader import BatchLoader, epoch_batches, ordered_batches
from vegrt.train.data.samples import DecodedPhotos, InputTransform, Samples, decode_photos, read_uncropped

CONTRACT, CPU = Contract(32, 32), torch.device("cpu")
PLENTY_BYTES = 1 << 30


def photos_of(data: Path, *, budget_bytes: int = PLENTY_BYTES) -> DecodedPhotos:
    return decode_photos(read_split(data, "train"), partial(read_uncropped, contract=CONTRACT), budget_bytes)


def test_order_is_a_function_of_seed_and_epoch() -> None:
    batches = epoch_batches(21, 8, seed=1, epoch=1)
    assert batches == epoch_batches(21, 8, seed=1, epoch=1)
    assert batches != epoch_batches(21, 8, seed=1, epoch=2)
    assert batches != epoch_batches(21, 8, seed=2, epoch=1)
    assert [len(batch) for batch in batches] == [8, 8]
    assert len({draw.photo for batch in batches for draw in batch}) == 16
    assert [len(batch) for batch in epoch_batches(5, 8, seed=1, epoch=1)] == [5]


def test_batches_are_the_same_from_memory_from_disk_and_from_workers_that_stay(colours: Path) -> None:
    """Runs in a separate process: forking a process that has loaded TensorRT, OpenVINO and a JavaScript engine may crash."""
    program = Path(__file__).with_name("compare_loaders.py")
    done = subprocess.run([sys.executable, str(program), str(colours)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["disk equal", "workers equal", "the same 2 workers in both epochs"], done.stderr


def test_augmentation_differs_between_epochs(colours: Path) -> None:
    samples = Samples(photos_of(colours), InputTransform(CONTRACT, "light"))
    first, second = (epoch_batches(24, 24, seed=0, epoch=epoch)[0] for epoch in (1, 2))
    draws = {draw.photo: draw for draw in second}
    same = [torch.equal(samples[draw][0], samples[draws[draw.photo]][0]) for draw in first]
    assert not any(same)


def test_evaluation_sees_what_inference_sees(colours: Path) -> None:
    split = read_split(colours, "validation")
    photos = decode_photos(split, partial(load_image, contract=CONTRACT), PLENTY_BYTES)
    loader = BatchLoader(Samples(photos, InputTransform(CONTRACT, "none")), 0, CPU)
    images = torch.cat([images for images, _ in loader.load(ordered_batches(len(photos), 7))])
    expected = np.stack([load_image(photo.path, CONTRACT) for photo in split.photos])
    assert np.array_equal(images.numpy(), expected)


@pytest.mark.parametrize(("size", "expected"), [((300, 200), (37, 56)), ((30, 20), (20, 30))])
def test_training_photos_are_whole_and_never_enlarged(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    Image.new("RGB", size).save(tmp_path / "photo.png")
    assert read_uncropped(tmp_path / "photo.png", CONTRACT).shape == (*expected, 3)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_training_photos_are_fitted_as_the_contract_says(tmp_path: Path, fit: Fit) -> None:
    contract = Contract((32, 64), fit=fit)
    Image.new("RGB", (300, 200), "white").save(tmp_path / "photo.png")
    pixels = read_uncropped(tmp_path / "photo.png", contract)
    assert pixels.shape == (37, 73, 3)
    assert ((pixels == 0).any()) == (fit == "letterbox")
    for augment in ("none", "full"):
        assert InputTransform(contract, augment)(pixels, 0).shape == contract.shape


def test_unreadable_photos_are_named_counted_and_skipped(
    tmp_path: Path, colours: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = shutil.copytree(colours, tmp_path / "data")
    text, cut = data / "train/Beet/00.jpg", data / "train/Cress/05.jpg"
    text.write_text("not a photo")
    cut.write_bytes(cut.read_bytes()[:300])
    with caplog.at_level(logging.WARNING):
        photos = photos_of(data)
    assert (len(photos), photos.unreadable) == (22, 2)
    assert {text, cut}.isdisjoint(photo.path for photo in photos.photos)
    assert all(name in caplog.text for name in (str(text), str(cut), "skipped 2 unreadable of 24 photos"))


def test_refuses_a_class_without_a_readable_photo(tmp_path: Path, colours: Path) -> None:
    data = shutil.copytree(colours, tmp_path / "data")
    for path in (data / "train" / "Cress").iterdir():
        path.write_text("not a photo")
    with pytest.raises(DataError, match="no readable photo of class Cress"):
        photos_of(data)
