"""Any words on the command line: globs, words that match nothing, and which sources never end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.infer.sources.items import names_of
from vegrt.errors import DataError
from vegrt.infer.sources.open import SourceOptions, open_sources


def test_globs_that_the_shell_did_not_expand(tree: Path) -> None:
    assert names_of("a/*.jpg", "*.webp") == ["a/1.jpg", "a.webp"]
    assert names_of("**/*.jpg") == ["a/1.jpg", "b.jpg", "c/3.jpg"]
    assert names_of("a/**") == ["a/1.jpg", "a/2.PNG", "a/deep/x.gif", "a/notes.md"]
    assert names_of("[a]") == ["a/1.jpg", "a/2.PNG", "a/deep/x.gif"]  # a folder that matches is searched
    Path("[odd].jpg").touch()
    assert names_of("[odd].jpg") == ["[odd].jpg"]
    with pytest.raises(DataError, match="matches nothing"):
        names_of("*.bmp")


def test_missing_words_are_reported_before_the_first_item(tree: Path) -> None:
    with pytest.raises(DataError, match="none: no such file or folder"):
        open_sources(["b.jpg", "none"], SourceOptions())
    (tree / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no images"):
        open_sources([tree, "empty"], SourceOptions())


def test_only_folders_are_watched(tree: Path) -> None:
    with pytest.raises(DataError, match=r"b\.jpg: not a folder; --follow watches folders"):
        open_sources([tree, "b.jpg"], SourceOptions(follow=True))
