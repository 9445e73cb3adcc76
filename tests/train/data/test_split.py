"""The leak-free split: clusters stay whole, classes keep their shares, the manifest names real files."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vegrt.dataset.listing import SplitName
from vegrt.dataset.photos import read_splits
from vegrt.errors import DataError
from vegrt.train.data.audit import audit
from vegrt.train.data.split import NewSplit, assign_splits, write_first_split, write_split

SHARES: dict[SplitName, float] = {"train": 0.7, "validation": 0.15, "test": 0.15}


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    singles=st.integers(20, 40),
    mixed=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_clusters_stay_whole_and_classes_keep_their_shares(
    sizes: list[int], singles: int, mixed: bool, seed: int
) -> None:
    names = iter(range(10_000))
    clusters = [[f"photo{next(names)}" for _ in range(size)] for size in sizes]
    classes = {name: f"class{index % 2}" for index, cluster in enumerate(clusters) for name in cluster}
    if mixed:  # a cluster may hold photos of two classes
        classes[clusters[0][0]] = "class1"
    classes |= {f"photo{next(names)}": f"class{index % 2}" for index in range(2 * singles)}
    assigned = assign_splits(classes, clusters, seed=seed)
    assert assigned.keys() == classes.keys()
    assert all(len({assigned[name] for name in cluster}) == 1 for cluster in clusters)
    counts = Counter((split, classes[name]) for name, split in assigned.items())
    for label, total in Counter(classes.values()).items():
        for split, share in SHARES.items():
            assert abs(counts[split, label] - share * total) < max(sizes) + 2
    assert assign_splits(classes, clusters, seed=seed) == assigned


def test_without_clusters_the_shares_are_exact_and_the_seed_matters() -> None:
    classes = {f"{label}{index}": label for label in "ab" for index in range(100)}
    first, second = (assign_splits(classes, [], seed=seed) for seed in (1, 2))
    assert Counter(first.values()) == {"train": 140, "validation": 30, "test": 30}
    assert Counter(split for name, split in first.items() if name < "b") == {"train": 70, "validation": 15, "test": 15}
    assert first != second


def test_each_split_gets_its_share_of_the_large_scenes() -> None:
    clusters = [[f"{index}-{shot}" for shot in range(5)] for index in range(40)]
    classes = {name: "bean" for cluster in clusters for name in cluster}
    assert Counter(assign_splits(classes, clusters).values()) == {"train": 140, "validation": 30, "test": 30}
    classes |= {f"single{index}": "bean" for index in range(200)}
    draws = [assign_splits(classes, clusters, seed=seed) for seed in range(20)]
    scenes = Counter(assigned[cluster[0]] for assigned in draws for cluster in clusters)
    for split, share in SHARES.items():
        assert scenes[split] / scenes.total() == pytest.approx(share, abs=0.06)


def test_three_scenes_of_uneven_size_still_fill_three_splits() -> None:
    clusters = [["a1", "a2", "a3", "a4"], ["b1", "b2", "b3"], ["c1", "c2", "c3"]]
    assigned = assign_splits({name: "bean" for cluster in clusters for name in cluster}, clusters)
    assert set(assigned.values()) == set(SHARES)


@pytest.mark.parametrize("clusters", [[], [["a", "b"], ["c", "d", "e"]]])
def test_too_few_scenes_are_refused(clusters: list[list[str]]) -> None:
    names = "abcde" if clusters else "ab"
    with pytest.raises(DataError, match="class bean: too few scenes"):
        assign_splits(dict.fromkeys(names, "bean"), clusters)


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.0, 0.0, 0.0)])
def test_invalid_fractions_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(DataError, match="whose sum is 1"):
        assign_splits({}, [], fractions=fractions)


def test_the_manifest_names_every_readable_photo_once(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for label in ("Bean", "=Leek"):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for index in range(4):
                pixels = random.integers(0, 256, (4, 4, 3), np.uint8)
                photo = Image.fromarray(pixels).resize((40, 40), Image.Resampling.NEAREST)
                photo.save(tmp_path / "data" / split / label / f"{index}.png")
    (tmp_path / "data/test/Bean/bad.png").write_text("no image")
    audited = audit(tmp_path / "data")
    new_split = write_split(tmp_path / "data", audited, tmp_path / "split.csv", fractions=(0.5, 0.25, 0.25), seed=3)
    counts = new_split.counts
    assert counts == {split: {"=Leek": n, "Bean": n} for split, n in {"train": 6, "validation": 3, "test": 3}.items()}
    with (tmp_path / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["path"] for row in rows}) == 24
    assert {row["class"] for row in rows} == {"Bean", "'=Leek"}  # no formula
    assert all((tmp_path / row["path"]).parent.name == row["class"].removeprefix("'") for row in rows)
    splits = read_splits(tmp_path / "split.csv")
    assert {name: split.counts() for name, split in splits.items()} == counts
    tested = {row["path"]: row["split"] for row in rows if row["path"].startswith("data/test/")}
    moved = Counter(tested.values())
    assert (new_split.tested, new_split.moved) == (8, {"train": moved["train"], "validation": moved["validation"]})
    assert new_split.warning().startswith(
        f"{8 - moved['test']} of the 8 test photos of the old split moved ({moved['train']} to train"
    )
    assert not NewSplit(counts, 8, {"train": 0, "validation": 0}).warning()
    again = audit(tmp_path / "split.csv")
    assert (again.counts, again.clusters) == (counts, audited.clusters)
    (tmp_path / "data/test/Bean/0.png").unlink()
    with pytest.raises(DataError, match="made for other photos"):
        write_split(tmp_path / "data", audited, tmp_path / "split.csv")


def test_class_folders_alone_get_splits_that_keep_scenes_together(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    random = np.random.default_rng(0)
    for label in ("Bean", "Leek"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for scene in range(8):
            pixels = random.integers(0, 240, (4, 4, 3), np.uint8)
            for shot in range(2):  # of one scene
                photo = Image.fromarray(pixels + np.uint8(4 * shot)).resize((40, 40), Image.Resampling.NEAREST)
                photo.save(tmp_path / "photos" / label / f"{scene}-{shot}.png")
    (tmp_path / "photos/Bean/bad.png").write_text("no image")
    with pytest.raises(DataError, match=r"class folders without splits .*vegrt data split \S+ -o split\.csv"):
        read_splits(tmp_path / "photos")
    new_split = write_first_split(tmp_path / "photos", tmp_path / "split.csv", fractions=(0.5, 0.25, 0.25))
    assert new_split.counts == {
        split: {"Bean": n, "Leek": n} for split, n in {"train": 8, "validation": 4, "test": 4}.items()
    }
    assert (new_split.warning(), "skipped 1 unreadable of 33 photos" in caplog.text) == ("", True)
    assert {name: split.counts() for name, split in read_splits(tmp_path / "split.csv").items()} == new_split.counts
    leaked = audit(tmp_path / "split.csv").leaked_test_images
    assert not any(leaked.values())
