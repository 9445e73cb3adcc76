from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vegrt.errors import VegrtError
from vegrt.files.atomic import creating, replacing, unwritten, write_json
from vegrt.files.hashing import sha256_of


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    write_json(target, {"old": 1})

    def fail() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power"):
        fail()
    assert target.read_text() == '{\n  "old": 1\n}\n'
    assert list(tmp_path.iterdir()) == [target]


def test_nan_is_refused_in_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full to stand for a full disk")
def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    with (
        pytest.raises(VegrtError, match=r"out\.bin.*No space left"),
        replacing(target),
        Path("/dev/full").open("wb") as full,
    ):
        full.write(b"x" * 100_000)
    assert not list(tmp_path.iterdir())


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "x.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o640


def test_sha256_of_abc_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def copy_from(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def fill_from(source: Path, target: Path) -> None:
    with creating(target) as folder:
        shutil.copyfile(source, folder / "copy")


@pytest.mark.parametrize("write", [copy_from, fill_from])
def test_a_source_that_cannot_be_read_is_not_called_a_failed_write(
    tmp_path: Path, write: Callable[[Path, Path], None]
) -> None:
    source, target = tmp_path / "source", tmp_path / "out"
    with pytest.raises(VegrtError, match=rf"^{source}: cannot be read \(No such file.*; {target} was not written$"):
        write(source, target)
    source.mkdir()
    with pytest.raises(VegrtError, match=rf"^{source}: cannot be read \(Is a directory\)"):
        write(source, target)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("error", "start"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "out: writing failed (No space left on device)"),
        (OSError(errno.ENOSPC, "No space", "source"), "out: writing failed (No space)"),  # as shutil names it
        (OSError(errno.EACCES, "Permission denied", "PLACE"), "out: writing failed (Permission denied)"),
        (OSError(errno.EACCES, "Permission denied", "PLACE/sub/file"), "out: writing failed (Permission denied)"),
        (OSError(errno.EACCES, "Permission denied", b"\xff"), "\\xff: cannot be read (Permission denied); out was not"),
        (OSError(errno.EIO, "Input/output error"), "out: was not written (Input/output error)"),
        (OSError(errno.EIO, "Input/output error", 7), "out: was not written (Input/output error)"),
        (OSError("image file is truncated"), "out: was not written (image file is truncated)"),
        (TimeoutError(), "out: was not written (TimeoutError)"),
    ],
)
def test_only_errors_of_writing_are_called_failed_writes(error: OSError, start: str) -> None:
    assert str(unwritten(Path("out"), Path("PLACE"), error)).startswith(start)
