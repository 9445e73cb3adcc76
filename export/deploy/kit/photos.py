"""The photos of a device kit: calibration photos in the formats of the compilers, and test photos with their SHA-256."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.format import open_memmap
from PIL import Image

from vegrt.calibration.pixels import PhotoSet
from vegrt.dataset.listing import listing_text
from vegrt.dataset.photos import Photo, Split, content_hash
from vegrt.errors import DataError
from vegrt.evaluate.robustness import sample
from vegrt.export.deploy.kit.inputs import NORMALIZED_NCHW, NORMALIZED_NHWC, UINT8_NHWC, model_input
from vegrt.files.csv_cells import csv_text, path_cell
from vegrt.infer.decode.pipeline import batches
from vegrt.photo.contract import Contract
from vegrt.terminal.progress import track

TestAs = Literal["files", "arrays", "both"]
ARRAYS = {UINT8_NHWC: "images-uint8-nhwc.npy", NORMALIZED_NCHW: "images-float32-nchw.npy"}
RAW = {NORMALIZED_NHWC: "raw-float32-nhwc", NORMALIZED_NCHW: "raw-float32-nchw"}
LISTS = {NORMALIZED_NHWC: "input_list_nhwc.txt", NORMALIZED_NCHW: "input_list_nchw.txt"}
DATASET = "dataset.txt"
_BATCH = 16


def write_calibration(folder: Path, photos: PhotoSet) -> None:
    """Write the photos to `folder`, prepared, in each format. Raises DataError for one that can no longer be decoded."""
    contract, count = photos.pixels.contract, len(photos)
    for name in ("png", *RAW.values()):
        (folder / name).mkdir(parents=True)
    arrays = {form: _array(folder / name, form, count, contract) for form, name in ARRAYS.items()}
    start = 0
    for images in photos.batches(_BATCH, title="Writing calibration photos"):
        stop = start + len(images)
        for form, array in arrays.items():
            array[start:stop] = model_input(images, form, contract)
        for form, name in RAW.items():
            for index, floats in enumerate(model_input(images, form, contract), start):
                floats.tofile(folder / name / f"{index:05d}.raw")
        for index, image in enumerate(images, start):
            Image.fromarray(image).save(folder / "png" / f"{index:05d}.png")
        start = stop
    _write_lines(folder / DATASET, [f"png/{index:05d}.png" for index in range(count)])
    for form, name in LISTS.items():
        _write_lines(folder / name, [f"{RAW[form]}/{index:05d}.raw" for index in range(count)])


@dataclass(frozen=True, slots=True)
class TestPhotos:
    """The chosen photos of a test split. is_all: whether they are all of it."""

    __test__ = False  # pytest would take it for a test

    split: Split
    photos: tuple[Photo, ...]

    @property
    def is_all(self) -> bool:
        """Return whether these are all photos of the split."""
        return len(self.photos) == len(self.split)


def choose_test_photos(split: Split, count: int) -> TestPhotos:
    """Return at most `count` photos, the same number of each class. Raises DataError for fewer photos than classes."""
    if count < len(split.classes):
        raise DataError(f"--test-photos {count}: {len(split.classes)} classes; expected at least one photo of each")
    return TestPhotos(split, split.photos if count >= len(split) else tuple(sample(split, count)))


def write_test_photos(folder: Path, chosen: TestPhotos, contract: Contract, test_as: TestAs) -> TestPhotos:
    """Write the photos to `folder` with photos.csv, and return them; an array holds only those that can be decoded."""
    folder.mkdir()
    split, photos = chosen.split, list(chosen.photos)
    if test_as != "files":
        photos = _write_array(folder / ARRAYS[UINT8_NHWC], photos, contract)
    names = [f"photos/{index:05d}{photo.path.suffix.lower()}" for index, photo in enumerate(photos)]
    if test_as == "arrays":
        names = [""] * len(photos)
    else:
        (folder / "photos").mkdir()
        for photo, name in zip(photos, names, strict=True):
            shutil.copyfile(photo.path, folder / name)
    rows = [
        (name and f"test/{name}", path_cell(split.relative(photo)), content_hash(photo.path))
        for photo, name in zip(photos, names, strict=True)
    ]
    _write_text(folder / "photos.csv", csv_text([("file", "photo", "sha256"), *rows]))
    return TestPhotos(split, tuple(photos))


def write_listing(folder: Path, name: str, chosen: TestPhotos, final: Path) -> None:
    """Write a data set of the chosen photos, as `--data` takes it. final: where the folder will be; paths are relative to it."""
    split = chosen.split
    photos = ((photo.path.absolute(), split.classes[photo.label], split.name) for photo in chosen.photos)
    _write_text(folder / name, listing_text(final.absolute() / name, photos))


def _write_array(file: Path, photos: Sequence[Photo], contract: Contract) -> list[Photo]:
    """Write the photos that can be decoded as one array, and return them."""
    parts = batches([photo.path for photo in photos], contract, _BATCH)
    readable: list[int] = []
    array = _array(file, UINT8_NHWC, len(photos), contract)
    for batch in track(parts, "Preparing test photos", -(-len(photos) // _BATCH)):
        array[len(readable) : len(readable) + len(batch.indices)] = batch.images
        readable += batch.indices
    if len(readable) < len(photos):
        whole = file.rename(file.with_suffix(".whole"))
        np.save(file, array[: len(readable)])
        whole.unlink()
    return [photos[index] for index in readable]


def _array(file: Path, form: str, count: int, contract: Contract) -> Any:
    """Return a new .npy file of `count` inputs, mapped into memory."""
    example = model_input(np.zeros((1, *contract.shape), np.uint8), form, contract)
    return open_memmap(file, mode="w+", dtype=example.dtype, shape=(count, *example.shape[1:]))


def _write_lines(file: Path, lines: Sequence[str]) -> None:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", errors="replace")
