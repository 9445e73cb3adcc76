"""A folder of empty photos, for the tests of every source."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty files, and the folder that they are in as the current one."""
    for name in ("b.jpg", "a/2.PNG", "a/1.jpg", "a/notes.md", "a/deep/x.gif", "a.webp", "c/.hidden.jpg", "c/3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path
