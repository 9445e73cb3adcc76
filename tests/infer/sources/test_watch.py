"""Folders that are watched for new photos."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from vegrt.infer.sources.watch import watch


def test_a_watched_folder_gives_what_has_settled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    (tmp_path / "old.jpg").write_bytes(b"old")
    (tmp_path / "empty.jpg").touch()
    looks = watch([tmp_path], stop, poll_s=0.001)

    def until(count: int) -> list[str]:
        """Return the names that come during so many looks."""
        names = []
        while count:
            item = next(looks)
            count -= item is None
            names += [Path(item.name).name] if item else []
        return names

    assert until(1) == []  # it may still be growing
    assert until(2) == ["old.jpg"]
    (tmp_path / "sub").mkdir()
    growing = tmp_path / "sub/new.jpg"
    for size in range(1, 4):
        growing.write_bytes(b"x" * size)
        assert until(1) == []
    assert until(2) == ["new.jpg"]
    growing.write_bytes(b"changed")
    assert until(3) == ["new.jpg"]
    (tmp_path / "old.jpg").unlink()
    until(1)
    (tmp_path / "old.jpg").write_bytes(b"again")
    assert until(2) == ["old.jpg"]
    (tmp_path / "late.jpg").write_bytes(b"late")
    stop.set()
    assert list(looks) == []
    assert "2 files were still being written" in caplog.text  # the empty one is the other
