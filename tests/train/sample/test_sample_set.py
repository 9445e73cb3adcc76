from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vegrt.errors import DataError
from vegrt.train.sample.sample_set import CLASSES, PARALLEL_FROM, SPLITS, SampleSizes, draw_picture, write_sample_set

TINY = SampleSizes(train=2, validation=1, test=1)


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.jpg"))
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "set"
    write_sample_set(out, TINY, seed=3)
    return out


def test_tree_and_counts(tiny: Path) -> None:
    assert sorted(path.name for path in tiny.iterdir()) == ["sample.json", *sorted(SPLITS)]
    assert len(CLASSES) == 15
    for split, size in (("train", 2), ("validation", 1), ("test", 1)):
        assert tuple(sorted(path.name for path in (tiny / split).iterdir())) == CLASSES
        for label in CLASSES:
            names = sorted(path.name for path in (tiny / split / label).iterdir())
            assert names == [f"{number:04d}.jpg" for number in range(size)]
    assert [path.name for path in tiny.parent.iterdir()] == ["set"], "a temporary folder was left behind"


def test_images_are_jpeg_rgb_224_with_content(tiny: Path) -> None:
    for path in tiny.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (224, 224))
            pixels = np.asarray(image, dtype=np.float32)
        assert pixels.std() > 8, f"{path} is nearly blank"
        assert 12 < pixels.mean() < 243, f"{path} is nearly black or white"


def test_no_two_images_are_the_same(tiny: Path) -> None:
    digests = hashes(tiny)
    assert len(set(digests.values())) == len(digests) == 15 * 4


def test_same_bytes_whatever_the_sizes_and_processes(tiny: Path, tmp_path: Path) -> None:
    larger = SampleSizes(train=4, validation=2, test=1)
    assert write_sample_set(tmp_path / "set", larger, seed=3) == 105 >= PARALLEL_FROM
    again = hashes(tmp_path / "set")
    assert len(again) == 105
    assert {name: again[name] for name in hashes(tiny)} == hashes(tiny)


def test_another_seed_fills_an_empty_folder_with_other_pictures(tiny: Path, tmp_path: Path) -> None:
    assert write_sample_set(tmp_path, SampleSizes(1, 1, 1), seed=4) == 45
    assert len(hashes(tmp_path)) == 45
    assert not set(hashes(tiny).values()) & set(hashes(tmp_path).values())


@pytest.mark.parametrize("label", CLASSES)
def test_draw_is_deterministic_and_varied(label: str) -> None:
    first = draw_picture(label, 11)
    assert (first.mode, first.size) == ("RGB", (224, 224))
    assert first.tobytes() == draw_picture(label, 11).tobytes()
    assert first.tobytes() != draw_picture(label, 12).tobytes()


def test_label_decides_what_is_drawn() -> None:
    pictures = {draw_picture(label, 11).tobytes() for label in CLASSES}
    assert len(pictures) == len(CLASSES)


def test_pictures_stay_paintable_over_many_seeds() -> None:
    for seed in range(100, 130):
        draw_picture(CLASSES[seed % len(CLASSES)], seed)  # warnings are errors: an overflow or empty window would raise


def test_unknown_label_is_refused() -> None:
    with pytest.raises(DataError, match="'Banana': not a class"):
        draw_picture("Banana", 0)


def test_complete_set_is_not_drawn_again(tiny: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    assert write_sample_set(tiny, TINY, seed=3) == 60
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before


@pytest.mark.parametrize(("sizes", "seed"), [(TINY, 4), (SampleSizes(1, 1, 1), 3)])
def test_set_of_other_seed_or_sizes_is_refused(tiny: Path, sizes: SampleSizes, seed: int) -> None:
    before = hashes(tiny)
    with pytest.raises(DataError, match="holds another sample set"):
        write_sample_set(tiny, sizes, seed=seed)
    assert hashes(tiny) == before


def test_set_of_another_generator_is_refused(tiny: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(tiny, tmp_path / "set"))
    record = json.loads((out / "sample.json").read_text())
    (out / "sample.json").write_text(json.dumps(record | {"generator_version": 0}))
    with pytest.raises(DataError, match="generator_version 0"):
        write_sample_set(out, TINY, seed=3)


def test_damaged_set_is_refused(tiny: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(tiny, tmp_path / "set"))
    (out / "test" / "Bean" / "0000.jpg").unlink()
    with pytest.raises(DataError, match="0 images, expected 1"):
        write_sample_set(out, TINY, seed=3)


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holds notes\.txt but no sample\.json"):
        write_sample_set(tmp_path, TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("a file")
    with pytest.raises(DataError, match="is a file; expected a folder"):
        write_sample_set(tmp_path / "set", TINY)


def test_no_image_in_a_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 1 image"):
        write_sample_set(tmp_path / "set", SampleSizes(test=0))
    assert not list(tmp_path.iterdir())


def test_interrupted_drawing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Image.Image.save

    def save_until_pumpkin(image: Image.Image, path: Path, *args: object, **options: object) -> None:
        if path.parent.name == "Pumpkin":
            raise KeyboardInterrupt
        saved(image, path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "save", save_until_pumpkin)
    with pytest.raises(KeyboardInterrupt):
        write_sample_set(tmp_path / "set", TINY)
    assert not list(tmp_path.iterdir())
