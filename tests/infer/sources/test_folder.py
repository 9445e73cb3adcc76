"""Folders: the order of their photos, what is left out, and nothing listed before it is needed."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from pathlib import Path

import pytest

from tests.infer.sources.items import names_of
from vegrt.infer.sources.open import SourceOptions, open_sources


def test_a_folder_is_searched_in_the_order_of_paths(tree: Path) -> None:
    expected = [str(tree / name) for name in ("a/1.jpg", "a/2.PNG", "a/deep/x.gif", "a.webp", "b.jpg", "c/3.jpg")]
    assert names_of(tree) == expected
    assert [Path(name) for name in expected] == sorted(map(Path, expected))
    (tree / "a/loop").symlink_to(tree)
    (tree / "a/linked.jpg").symlink_to(tree / "a")  # a folder all the same
    assert names_of(tree) == expected


def test_skipped_files_are_reported_at_the_end_of_a_folder(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        photos = open_sources([tree], SourceOptions())
        next(photos)
        assert not caplog.messages
        list(photos)
    assert caplog.messages == [f"{tree}: skipped: 1 hidden, 1 not a photo (.md)"]


def test_folders_are_read_as_they_are_needed(tree: Path) -> None:
    photos = open_sources([tree], SourceOptions())
    next(photos)
    (tree / "c/late.jpg").touch()
    assert str(tree / "c/late.jpg") in [item.name for item in photos if item]


def test_a_very_deep_tree_is_no_recursion_error(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(200):
        deep = deep / "d"
    os.makedirs(deep)  # noqa: PTH103 (Path.mkdir recurses)
    (deep / "x.jpg").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        assert names_of(tmp_path) == [str(deep / "x.jpg")]
    finally:
        sys.setrecursionlimit(limit)
