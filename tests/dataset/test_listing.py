"""A CSV file in the place of a data folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from vegrt.dataset.listing import relative_path
from vegrt.dataset.photos import base_folder, has_split, read_split, read_splits
from vegrt.errors import DataError


def write_listing(file: Path, photos: Path, move: dict[str, str] | None = None) -> Path:
    """List all of `photos`; move: photos that go to another split."""
    rows = ["path,class,split"]
    for path in sorted(photos.rglob("*.jpg")):
        name = path.relative_to(photos).as_posix()
        split, label, _ = name.split("/")
        rows.append(f"{relative_path(path, file)},{label},{(move or {}).get(name, split)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(rows))
    return file


def test_a_listing_takes_the_place_of_the_folder(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_listing(tmp_path / "deep/list.csv", photos, {"train/Beet/003.jpg": "test"})
    monkeypatch.chdir(file.parent)
    listed, folders = read_splits(Path("list.csv")), read_splits(photos)
    assert listed["validation"].photos == folders["validation"].photos
    assert listed["test"].counts() == {"Beet": 21, "Cress": 20, "Eggplant": 20}
    assert listed["train"].counts()["Beet"] == 23
    moved = next(photo for photo in listed["test"].photos if photo not in folders["test"].photos)
    assert listed["test"].relative(moved) == "train/Beet/003.jpg"
    assert base_folder(file) == photos.resolve()
    assert has_split(file, "test")
    assert not has_split(photos, "holdout")  # type: ignore[arg-type]


def test_names_with_line_breaks_of_unicode_and_val_are_taken(photos: Path, tmp_path: Path) -> None:
    odd = "a\u2028b.jpg"
    shutil.copy(photos / "test/Beet/000.jpg", tmp_path / odd)
    shutil.copy(photos / "test/Cress/000.jpg", tmp_path / "c.jpg")
    (tmp_path / "list.csv").write_text(f"path,class,split\n{odd},Beet,val\nc.jpg,Cress,validation\n", encoding="utf-8")
    assert [photo.path.name for photo in read_split(tmp_path / "list.csv", "validation").photos] == [odd, "c.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,split\n", "no column class"),
        ("path,class,split\n", "lists no photos"),
        ("path,class,split\na.jpg,Beet,holdout\n", "line 2: 'a.jpg', 'Beet', 'holdout'"),
        ("path,class,split\na.jpg,Beet\n", "line 2: 'a.jpg', 'Beet', ''"),
        ("path,class,split\na.jpg,Beet,test\n./a.jpg,Cress,train\n", "line 3: ./a.jpg is already listed in line 2"),
        ("path,class,split\na.jpg,Beet,train\n", "lists no photos of split test"),
        ("path,class,split\na.jpg,Beet,test\nb.jpg,Cress,test\n", r"2 listed photo\(s\) missing, such as .*a.jpg"),
        ("path,class,split\nlist.csv,Beet,test\n", "expected at least 2"),
        ("path,class,split\r\n\udcff", "cannot be read"),
        ('path,class,split\n"a.jpg,Beet,test\n' + 140_000 * "x", "line .*field larger"),
    ],
)
def test_invalid_lines_are_reported_with_their_number(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.csv").write_bytes(os.fsencode(text))
    with pytest.raises(DataError, match=message):
        read_split(tmp_path / "list.csv", "test")


def test_a_missing_listing_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.csv: cannot be read .*expected a CSV"):
        read_split(tmp_path / "none.csv", "test")
