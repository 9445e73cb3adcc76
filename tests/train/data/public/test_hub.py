"""A snapshot in the shape of the Hub's becomes a data folder; what the client answers is a real folder of Parquet files."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.command_line import call
from vegrt.dataset.photos import read_split, read_splits
from vegrt.errors import DataError, VegrtError
from vegrt.train.data.public.fetch import fetch
from vegrt.train.data.public.hub import unpack
from vegrt.train.data.public.sets import BEANS, PETS, PUBLIC_SETS, ExpectedCounts, PublicSet

pyarrow = pytest.importorskip("pyarrow", reason="needs the extra fetch", exc_type=ImportError)
huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra fetch", exc_type=ImportError)
parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra fetch", exc_type=ImportError)

SMALL = replace(BEANS, expected=ExpectedCounts(3, {"train": 24, "validation": 6, "test": 6}))
WITHOUT_VALIDATION = replace(
    PETS, classes=BEANS.classes, expected=ExpectedCounts(3, {"train": 24, "test": 6}), label_column="labels"
)


def photo(seed: int, file_format: str = "JPEG") -> bytes:
    """Return an encoded photo of random cells, unlike that of any other seed."""
    cells = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(cells).resize((32, 32), Image.Resampling.NEAREST).save(encoded, file_format)
    return encoded.getvalue()


def write_parquet(file: Path, photos: list[bytes], labels: list[int], column: str = "labels") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": content, "path": "../same name.jpg"} for content in photos]
    parquet.write_table(pyarrow.table({"image_file_path": ["x"] * len(labels), "image": images, column: labels}), file)


def snapshot(root: Path, dataset: PublicSet = SMALL, *, first_seed: int = 0) -> Path:
    """Write a snapshot with the files that the Hub has: train in two of them, the labels in turn, and one PNG."""
    seed = first_seed
    for split, count in dataset.expected.photos.items():
        photos = [photo(seed + row, "PNG" if row == 1 else "JPEG") for row in range(count)]
        labels = [row % 3 for row in range(count)]
        half = count // 2 if split == "train" else count
        parts = [(photos[:half], labels[:half]), (photos[half:], labels[half:])]
        for number, part in enumerate(part for part in parts if part[0]):
            write_parquet(root / f"data/{split}-{number:05d}-of-00002.parquet", *part)
        seed += count
    return root


def test_photos_are_written_as_they_were_and_numbered_by_row(tmp_path: Path) -> None:
    counts = unpack(snapshot(tmp_path / "hub"), tmp_path / "new/data", SMALL)
    assert counts == {
        split: dict.fromkeys(BEANS.classes, photos // 3) for split, photos in SMALL.expected.photos.items()
    }
    splits = read_splits(tmp_path / "new/data")
    assert {name: split.counts() for name, split in splits.items()} == counts
    assert (tmp_path / "new/data/train/bean_rust/000001.png").read_bytes() == photo(1, "PNG")
    assert (tmp_path / "new/data/train/healthy/000014.jpg").read_bytes() == photo(14)  # of the second file
    assert (tmp_path / "new/data").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["data"]


def test_the_client_is_asked_for_the_pinned_revision_and_a_filled_folder_is_only_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def answer(repository: str, **options: Any) -> str:
        calls.append((repository, options))
        return str(snapshot(tmp_path / "hub"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    first = fetch(tmp_path / "data", SMALL)
    assert fetch(tmp_path / "data", SMALL) == first
    assert first.data == tmp_path / "data"
    assert first.held_out is None
    patterns = ["data/train-*.parquet", "data/validation-*.parquet", "data/test-*.parquet"]
    assert calls == [
        (BEANS.repository, {"repo_type": "dataset", "revision": BEANS.revision, "allow_patterns": patterns})
    ]
    (tmp_path / "data/test/healthy/000002.jpg").unlink()
    with pytest.raises(DataError, match=r"data/test: 5 photos, expected 6; if the download is incomplete, delete"):
        fetch(tmp_path / "data", SMALL)


def test_a_set_without_validation_gets_one_without_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = snapshot(tmp_path / "hub", WITHOUT_VALIDATION)
    test_photos = [photo(0), *(photo(900 + row) for row in range(5))]  # the first one is also in train
    write_parquet(root / "data/test-00000-of-00002.parquet", test_photos, [0, 1, 2, 0, 1, 2])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(root))
    fetched = fetch(tmp_path / "data", WITHOUT_VALIDATION)
    assert fetched.data == tmp_path / "data/split.csv"
    assert fetched.held_out is not None
    assert fetched.held_out.summary().startswith("train 20, validation 3, test 6 photos; 1 photos left out")
    train = read_split(fetched.data, "train")
    validation = read_split(fetched.data, "validation", train.classes)
    assert validation.counts() == dict.fromkeys(BEANS.classes, 1)
    assert not {item.path for item in train.photos} & {item.path for item in validation.photos}
    assert photo(0) not in [item.path.read_bytes() for item in (*train.photos, *validation.photos)]
    assert fetch(tmp_path / "data", WITHOUT_VALIDATION) == fetched
    edited = "".join(
        line for line in fetched.data.read_text().splitlines(keepends=True) if "train/bean_rust/" not in line
    )
    fetched.data.write_text(edited)  # by its user
    again = fetch(tmp_path / "data", WITHOUT_VALIDATION)
    assert again.held_out is not None
    assert again.held_out.left_out > fetched.held_out.left_out
    assert fetched.data.read_text() == edited


@pytest.mark.parametrize(
    ("labels", "column", "message"),
    [
        ([0, 1, 2, 0, 1], "labels", r"test has 5 photos, expected 6; delete .*hub and fetch again"),
        ([0, 1, 2, 0, 1, 3], "labels", r"label 3 in test, expected 0 to 2; delete .*hub and"),
        ([0, 1, 0, 0, 1, 0], "labels", r"test has no photos of class healthy, expected some of each of 3 classes"),
        ([0, 1, 2, 0, 1, 2], "fine_label", r"no column labels, expected image and labels; delete .*hub and"),
    ],
)
def test_another_content_is_one_line_and_nothing_is_placed(
    tmp_path: Path, labels: list[int], column: str, message: str
) -> None:
    root = snapshot(tmp_path / "hub")
    write_parquet(root / "data/test-00000-of-00002.parquet", [photo(row) for row in range(len(labels))], labels, column)
    with pytest.raises(DataError, match=message) as caught:
        unpack(root, tmp_path / "data", SMALL)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]


def test_a_failed_download_is_one_line_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = partial(huggingface_hub.snapshot_download, local_files_only=True, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", offline
    )  # the client itself: without, it retries for 25 s
    with pytest.raises(VegrtError, match="run the command again to resume, or, without a network") as caught:
        fetch(tmp_path / "data", BEANS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_the_help_lists_every_set_with_its_numbers_size_and_licence() -> None:
    text = " ".join(call("data", "fetch", "--help").stdout.split())
    for dataset in PUBLIC_SETS.values():
        total = sum(dataset.expected.photos.values())
        for part in (f"{dataset.name}: ", f"{dataset.expected.classes} classes", f"{total:,}", dataset.licence):
            assert part in text
        assert dataset.size in text
        assert not dataset.classes or len(dataset.classes) == dataset.expected.classes


def test_an_unknown_name_is_one_line(tmp_path: Path) -> None:
    result = call("data", "fetch", str(tmp_path / "data"), "--name", "cats")
    assert result.exit_code == 1
    assert "data set 'cats': unknown; expected one of vegetables, beans, eurosat, pets" in result.stderr
