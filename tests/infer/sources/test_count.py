"""The number of photos before the first is read; the items are the same and come once."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from zipfile import ZipFile

import pytest

from vegrt.errors import DataError
from vegrt.infer.decode.item import Item
from vegrt.infer.sources.count import PhotoCount, count_photos
from vegrt.infer.sources.open import SourceOptions, open_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(5):
        (tmp_path / f"photos/{number}.jpg").write_bytes(b"photo")
    return tmp_path / "photos"


def counted(words: list[str | Path], limit: int = 100) -> tuple[list[Item | None], PhotoCount | None]:
    reading = SourceOptions()
    items, number = count_photos(open_sources(words, reading), words, reading, limit=limit)
    return list(items), number


def test_files_folders_globs_and_lists_are_counted(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{folder}\n{tmp_path / 'missing.jpg'}\n")
    sources: list[str | Path] = [folder / "0.jpg", folder, f"{folder}/*.jpg", tmp_path / "list.txt"]
    items, number = counted(sources)
    assert number == PhotoCount(1 + 5 + 5 + 5 + 1), "a file that is missing gets a row too"
    assert items == list(open_sources(sources, SourceOptions()))


@pytest.mark.parametrize(("limit", "expected"), [(3, PhotoCount(3, more=True)), (6, PhotoCount(5))])
def test_counting_ends_at_a_limit_and_no_item_is_lost(folder: Path, limit: int, expected: PhotoCount) -> None:
    items, number = counted([folder], limit)
    assert number == expected
    assert [Path(item.name).name for item in items if item] == [f"{number}.jpg" for number in range(5)]


def test_what_is_known_only_by_reading_is_not_counted(folder: Path, tmp_path: Path) -> None:
    with ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("0.jpg", b"photo")
    items, number = counted([folder, tmp_path / "photos.zip"])
    assert (len(items), number) == (6, None)
    items, number = counted([folder / "0.jpg", "https://host.invalid/photo.jpg"])
    assert (len(items), number) == (2, None)


@pytest.mark.parametrize(("word", "reading"), [("-", SourceOptions()), ("photos", SourceOptions(follow=True))])
def test_sources_that_wait_are_not_read_ahead(word: str, reading: SourceOptions) -> None:
    numbers = count()
    items, number = count_photos((Item(str(each), Path("x")) for each in numbers), [word], reading)
    assert number is None
    assert next(numbers) == 0, "nothing was taken"
    assert next(items) == Item("1", Path("x"))


def test_an_error_in_the_middle_comes_after_what_was_listed_before(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{folder / '0.jpg'}\n{'x' * 70_000}")
    reading = SourceOptions()
    words = [tmp_path / "list.txt"]
    items, number = count_photos(open_sources(words, reading), words, reading)
    assert number is None
    with pytest.raises(DataError, match="a name of more than"):
        list(items)
