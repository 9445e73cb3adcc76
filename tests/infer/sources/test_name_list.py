"""Lists of names, from files and from stdin."""

from __future__ import annotations

import itertools
import os
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.infer.sources.items import items_of, names_of
from vegrt.errors import DataError
from vegrt.infer.decode.item import fetched
from vegrt.infer.sources.name_list import LONGEST_NAME_BYTES, split_names
from vegrt.infer.sources.open import SourceOptions, open_sources


def test_lists_name_files_folders_archives_and_what_is_not_there(tree: Path) -> None:
    with zipfile.ZipFile("z.zip", "w") as archive:
        archive.write("b.jpg")
    Path("list.txt").write_bytes(b"b.jpg\r\n\nnone.jpg\na\nz.zip\ns3\xff.jpg")
    listed = items_of("list.txt")
    assert [item.name for item in listed][:3] == ["b.jpg", "none.jpg", "a/1.jpg"]
    assert [item.name for item in listed][5:] == ["z.zip!/b.jpg", "s3\\xff.jpg"]
    assert os.fsencode(fetched(listed[-1])) == b"s3\xff.jpg"  # type: ignore[arg-type]


def test_names_that_end_with_nul_may_hold_new_lines(tree: Path) -> None:
    Path("list.txt").write_bytes(b"b.jpg\0new\nline.jpg\r\0")
    assert names_of("list.txt", null=True) == ["b.jpg", "new\nline.jpg\r"]


@given(st.lists(st.binary(min_size=1, max_size=9)), st.integers(1, 7), st.booleans())
def test_names_are_the_same_wherever_blocks_are_cut(lines: list[bytes], size: int, null: bool) -> None:
    bad = b"\0" if null else b"\r\n"
    lines = [bytes(byte for byte in line if byte not in bad) or b"x" for line in lines]
    content = (b"\0" if null else b"\n").join(lines)
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    mixed = itertools.chain.from_iterable((block, None) for block in blocks)
    names = [name for name in split_names("x", iter(mixed), null=null) if name is not None]
    assert [os.fsencode(name) for name in names] == lines


def test_a_file_that_is_no_list_takes_no_memory(tree: Path) -> None:
    blocks = itertools.repeat(b"x" * 1000)
    with pytest.raises(DataError, match="a name of more than 65,536 bytes"):
        next(split_names("x", iter(blocks), null=False))
    assert LONGEST_NAME_BYTES == 65_536


def test_stdin_is_read_as_it_comes_with_its_pauses(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with open(reader) as stdin:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", stdin)
        photos = open_sources(["-"], SourceOptions())
        os.write(writer, b"b.jpg\na/1")
        assert [getattr(next(photos), "name", None) for _ in range(2)] == ["b.jpg", None]
        os.write(writer, b".jpg")
        os.close(writer)
        assert [item.name for item in photos if item] == ["a/1.jpg"]


def test_a_silent_stdin_ends_when_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    reading = SourceOptions()
    with open(reader) as stdin:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", stdin)
        photos = open_sources(["-"], reading)
        assert next(photos) is None
        reading.stop.set()
        assert list(photos) == []
    os.close(writer)
