from __future__ import annotations

import csv
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.command_line import answer, call, failure
from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import read_splits

ONLY_FP32 = ("--variant", "fp32", "--runtime", "onnxruntime")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "unsure.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_least_sure_photos_are_copied(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    words = ("infer", photos / "test", "--bundle", bundle.path, *ONLY_FP32)
    records = answer(*words)["predictions"]
    out = ("--keep-unsure", tmp_path / "kept", "--keep-most", 5, "-o", tmp_path / "rows.csv")
    assert call(*words, *out, "--batch", 7).exit_code == 0
    rows = rows_of(tmp_path / "kept")
    expected = sorted(records, key=lambda record: record["probability"])[:5]
    assert [float(row["probability"]) for row in rows] == [record["probability"] for record in expected]
    assert {row["source"] for row in rows} == {record["path"] for record in expected}
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == sorted(
        ["unsure.csv", *(row["path"] for row in rows)]
    )
    for row in rows:
        copy, source = tmp_path / "kept" / row["path"], Path(row["source"])
        assert copy.read_bytes() == source.read_bytes()
        assert not os.path.samefile(copy, source)  # noqa: PTH121
        assert (row["class"], row["split"], row["decision"]) == ("", "train", "")
    assert "is not empty; choose another folder" in failure(*words, *out[:4])


def test_photos_from_an_archive_are_kept_with_their_decision(trusted: Bundle, photos: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted((photos / "test/Beet").iterdir())[:6]:
            archive.write(path, path.name)
    folder = tmp_path / "kept"
    words = ("infer", tmp_path / "photos.zip", "--bundle", trusted.path, *ONLY_FP32, "--reject")
    assert call(*words, "--keep-unsure", folder, "--keep-most", 2).exit_code == 0
    for row in rows_of(folder):
        assert row["decision"] in {"accept", "unsure", "foreign"}
        name = row["path"]
        assert (folder / name).read_bytes() == (photos / "test/Beet" / name).read_bytes()


def test_labelled_rows_become_training_photos(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    words = ("infer", photos / "test", "--bundle", bundle.path, *ONLY_FP32)
    assert (
        call(*words, "--keep-unsure", tmp_path / "kept", "--keep-most", 4, "-o", tmp_path / "rows.csv").exit_code == 0
    )
    file, out = tmp_path / "kept/unsure.csv", tmp_path / "more/data.csv"
    out.parent.mkdir()
    assert "lists no labelled photos; fill in the column class" in failure("data", "add", data, file, "-o", out)
    rows = rows_of(tmp_path / "kept")

    def label(names: list[str]) -> None:
        lines = [f"{row['path']},{name},train" for row, name in zip(rows, names, strict=True)]
        file.write_text("\n".join(["path,class,split", *lines]) + "\n")

    label(["Beet", "", "Cress", ""])
    before = {name: len(split) for name, split in read_splits(data).items()}
    told = answer("data", "add", data, file, "-o", out)
    assert told["added"] == 2
    assert told["photos"] == before | {"train": before["train"] + 2}
    splits = read_splits(out)
    assert {name: len(split) for name, split in splits.items()} == told["photos"]
    added = [photo for photo in splits["train"].photos if photo.path.parent == tmp_path / "kept"]
    assert [splits["train"].classes[photo.label] for photo in added] == ["Beet", "Cress"]
    label(["Beet", "Tank", "", ""])
    assert "class 'Tank'; expected one of" in failure("data", "add", data, file, "-o", tmp_path / "other.csv")
    label(["Beet", "", "Cress", ""])
    assert "is in" in failure("data", "add", out, file, "-o", tmp_path / "other.csv")


def test_without_probabilities_nothing_is_kept(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    words = ("infer", photos / "test", "--bundle", bundle.path, "--keep-unsure", tmp_path / "kept")
    assert "leave --scores logits out" in failure(*words, "--scores", "logits")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("count", [1, 500])
def test_the_number_is_a_limit(bundle: Bundle, photos: Path, tmp_path: Path, count: int) -> None:
    words = ("infer", photos / "test/Beet", "--bundle", bundle.path, *ONLY_FP32, "--keep-unsure", tmp_path / "kept")
    assert call(*words, "--keep-most", count).exit_code == 0
    assert len(rows_of(tmp_path / "kept")) == min(count, 20)
