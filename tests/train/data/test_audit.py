"""The audit on small data sets with constructed scenes, and its search against a brute-force oracle."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from vegrt.dataset.photos import read_split, read_splits
from vegrt.errors import DataError
from vegrt.report.run.audit_page import write_audit
from vegrt.train.data import audit as audit_module
from vegrt.train.data import near_duplicates as near
from vegrt.train.data.audit import audit
from vegrt.train.data.audit_file import leaked_test_photos, read_audit_file
from vegrt.train.data.near_duplicates import MAX_MIRRORED_RMS, MAX_RMS, MAX_SHARE, SIDE, clusters_of, near_pairs

Pixels = NDArray[np.uint8]
NearPairs = dict[tuple[int, int], bool]  # pair -> mirrored


def scene(seed: int, *, shift: int = 0, side: int = 96) -> Pixels:
    """Return (side, side, 3) pixels: a smooth random scene, its window moved right by `shift` pixels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    whole = Image.fromarray(coarse).resize((side + 8, side + 8), Image.Resampling.BICUBIC)
    return np.asarray(whole.crop((shift, 0, shift + side, side)))


def thumbnails(*photos: Pixels) -> Pixels:
    return np.stack([np.asarray(Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BOX)) for photo in photos])


def search(photos: Pixels) -> NearPairs:
    return {(pair.left, pair.right): pair.mirrored for pair in near_pairs(photos)}


def by_brute_force(photos: Pixels) -> NearPairs:
    """Return the near pairs by the rules of vegrt.train.data.near_duplicates, pair by pair, in float64."""
    pairs: NearPairs = {}
    for left in range(len(photos)):
        for right in range(left + 1, len(photos)):
            for mirrored, limit in ((True, MAX_MIRRORED_RMS), (False, MAX_RMS)):
                first, second = (photos[index].astype(np.float64) for index in (left, right))
                second = second[:, ::-1] if mirrored else second
                difference = (first - first.mean((0, 1))) - (second - second.mean((0, 1)))
                contrast = sum(((photo - photo.mean((0, 1))) ** 2).mean() for photo in (first, second))
                if np.sqrt(((first - second) ** 2).mean()) <= limit and (difference**2).mean() <= MAX_SHARE * contrast:
                    pairs[left, right] = mirrored
    return pairs


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 24))
def test_blocked_search_finds_what_brute_force_finds(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    photos = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for index in range(
        count
    ):  # few scenes, many contrasts, levels, shifts and noises: pairs on both sides of each limit
        pixels = thumbnails(scene(int(random.integers(3)), shift=int(random.integers(3))))[0].astype(np.float64)
        pixels = (pixels - 128) * random.choice([0, 0.2, 1]) + 128 + random.normal(0, random.choice([0, 8, 25]))
        pixels += random.normal(0, random.choice([0, 5, 20]), pixels.shape)
        photos[index] = np.clip(pixels[:, :: random.choice([-1, 1])], 0, 255)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "BLOCK_ROWS", 5)  # several blocks, and pairs across their borders
        patch.setattr(near, "BLOCK_COLUMNS", 7)
        patch.setattr(near, "PAIRS_AT_ONCE", 3)
        assert search(photos) == by_brute_force(photos)
        assert len(list(near_pairs(photos))) == len(search(photos))


def test_burst_shots_are_near_and_unrelated_scenes_are_not() -> None:
    assert search(thumbnails(scene(1), scene(1, shift=3), scene(2))) == {(0, 1): False}


@pytest.mark.parametrize(("step", "near"), [(int(MAX_RMS), True), (int(MAX_RMS) + 1, False)])
def test_another_exposure_is_near_up_to_the_limit(step: int, near: bool) -> None:
    photo = thumbnails(scene(1))[0] // 2
    assert bool(search(np.stack([photo, photo + np.uint8(step)]))) is near


def test_a_mirrored_copy_is_near_and_mirrored() -> None:
    assert search(thumbnails(scene(1), scene(1)[:, ::-1])) == {(0, 1): True}


def test_objects_that_moved_on_a_dark_table_are_another_scene() -> None:
    table = np.full((2, 96, 96, 3), 60, np.uint8)
    table[0, 10:40, 10:40] = table[1, 50:80, 50:80] = 110
    first, second = thumbnails(*table).astype(np.float64)
    assert np.sqrt(((first - second) ** 2).mean()) < MAX_RMS
    assert search(thumbnails(*table)) == {}


def test_clusters_connect_indirectly_and_include_single_items() -> None:
    assert clusters_of([(3, 1), (4, 3), (0, 5)], 7) == [[0, 5], [1, 3, 4], [2], [6]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder with a burst across train and test, a copy, a mirrored photo, an odd size and a bad file."""
    photos = {
        "train/Bean/a.png": scene(1),
        "train/Bean/b.png": scene(2),
        "train/Leek & <i>/a.png": scene(3),
        "validation/Bean/a.png": scene(4),
        "validation/Leek & <i>/a.png": scene(5),
        "test/Bean/burst of train a.png": scene(1, shift=2),
        "test/Bean/new.png": scene(6),
        "test/Leek & <i>/mirror of validation a.png": scene(5)[:, ::-1],
        "test/Leek & <i>/odd.jpg": scene(7, side=400),
    }
    root = tmp_path / "data"
    for name, pixels in photos.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)
    shutil.copy(root / "train/Bean/a.png", root / "train/Bean/copy of a.png")
    (root / "train/Bean/not an image.jpg").write_text("hello")
    return root


def test_audit_of_a_known_tree(data: Path) -> None:
    result = audit(data)
    assert result.counts["train"] == {"Bean": 4, "Leek & <i>": 1}
    assert list(result.unreadable) == ["train/Bean/not an image.jpg"]
    assert result.usual_size_px == [96, 96]
    assert result.odd_sizes_px == {"test/Leek & <i>/odd.jpg": [400, 400]}
    assert result.exact_duplicates == [["train/Bean/a.png", "train/Bean/copy of a.png"]]
    mirrored, burst = result.near_pairs
    assert (burst.left, burst.right) == ("train/Bean/a.png", "test/Bean/burst of train a.png")
    assert (burst.cross_split, burst.mirrored, mirrored.mirrored) == (True, False, True)
    assert result.clusters == [
        ["test/Bean/burst of train a.png", "train/Bean/a.png", "train/Bean/copy of a.png"],
        ["test/Leek & <i>/mirror of validation a.png", "validation/Leek & <i>/a.png"],
    ]
    assert result.leaked_test_images == {
        "train": ["Bean/burst of train a.png"],
        "validation": ["Leek & <i>/mirror of validation a.png"],
    }


def test_an_exact_copy_across_splits_leaks_photos_near_to_either_copy(data: Path) -> None:
    shutil.copy(data / "test/Bean/burst of train a.png", data / "validation/Bean/copy.png")
    shutil.copy(data / "train/Bean/b.png", data / "test/Bean/copy of b.png")
    leaked = audit(data).leaked_test_images
    assert leaked["train"] == ["Bean/burst of train a.png", "Bean/copy of b.png"]
    assert leaked["validation"] == ["Bean/burst of train a.png", "Leek & <i>/mirror of validation a.png"]


def test_photos_are_named_by_their_real_folder(data: Path) -> None:
    (data / "validation").rename(data / "val")
    assert audit(data).clusters[1][1] == "val/Leek & <i>/a.png"


def test_the_file_reads_back_equal_and_the_page_is_self_contained(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new/out"
    result = audit(data)
    write_audit(result, data, out)
    assert read_audit_file(out / "audit.json") == result
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert page.count("<img") == page.count('src="data:image/jpeg;base64,') == 2 * len(result.near_pairs)
    assert "http" not in page
    assert "Leek &amp; &lt;i&gt;" in page
    assert "<i>" not in page


def test_leaked_names_are_given_for_the_audited_test_split_only(data: Path, tmp_path: Path) -> None:
    write_audit(audit(data), data, tmp_path)
    file = tmp_path / "audit.json"
    test = read_split(data, "test")
    both = {"Bean/burst of train a.png", "Leek & <i>/mirror of validation a.png"}
    trained_on = {name: read_split(data, name).fingerprint() for name in ("train", "validation")}
    assert leaked_test_photos(file, test, trained_on) == both
    assert leaked_test_photos(file, test, {}) == both < {test.relative(photo) for photo in test.photos}
    with pytest.raises(DataError, match="test split"):
        leaked_test_photos(file, read_split(data, "train"), trained_on)
    with pytest.raises(DataError, match="its train photos are not those that the model was trained with"):
        leaked_test_photos(file, test, trained_on | {"train": "of more photos"})
    Image.fromarray(scene(9)).save(data / "test/Bean/new.png")
    with pytest.raises(DataError, match="made for other photos"):
        leaked_test_photos(file, test, trained_on)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"format": "vegrt-audit", "format_version": 1}', "damaged"),
        ('{"format": "vegrt-audit", "format_version": 2}', "is vegrt-audit 2, expected vegrt-audit 1"),
    ],
)
def test_a_bad_audit_file_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "audit.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_audit_file(file)


def test_a_data_set_with_too_many_near_pairs_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "MAX_PAIRS", 1)
    with pytest.raises(DataError, match="more than 1 pairs"):
        audit(data)


def test_a_broken_link_is_not_a_photo(data: Path) -> None:
    before = audit(data)
    (data / "train/Bean/gone.png").symlink_to("nowhere")
    assert audit(data).to_dict() == before.to_dict()


def test_a_photo_that_disappears_before_it_is_read_is_listed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = read_splits(data)
    (data / "train/Bean/b.png").unlink()
    monkeypatch.setattr(audit_module, "read_splits", lambda _: splits)
    result = audit(data)
    assert "no such file" in result.unreadable["train/Bean/b.png"]
    assert result.fingerprints["train"] == splits["train"].fingerprint()
