"""Archives: members come from memory, links and huge members are refused, damage costs only what is damaged."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.infer.sources.items import items_of
from vegrt.infer.sources import archive as sources_archive


def add(archive: tarfile.TarFile, name: str, content: bytes = b"x", **more: object) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    for key, value in more.items():
        setattr(entry, key, value)
    archive.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tgz", "tar.xz"])
def test_tar_members_come_from_memory_and_links_are_refused(kind: str, tree: Path) -> None:
    long = "d/" * 80 + "long.jpg"
    mode: Any = f"w:{'gz' if kind == 'tgz' else kind.partition('.')[2]}"
    with tarfile.open(f"x.{kind}", mode) as archive:
        add(archive, "../../escape.jpg", b"one")
        add(archive, "readme.txt")
        add(archive, "link.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "hard.jpg", b"", type=tarfile.LNKTYPE, linkname="../../escape.jpg")
        add(archive, "pipe.jpg", b"", type=tarfile.FIFOTYPE)
        add(archive, long, b"two")
    before = set(tree.rglob("*"))
    members = items_of(f"x.{kind}")
    assert [item.name.partition("!/")[2] for item in members] == [
        *("../../escape.jpg", "link.jpg", "hard.jpg", "pipe.jpg"),
        long,
    ]
    assert [members[0].content, members[-1].content] == [b"one", b"two"]
    assert all("not a regular file; refused" in str(item.content) for item in members[1:-1])
    assert set(tree.rglob("*")) == before


def test_zip_members_links_passwords_and_a_macs_notes(tree: Path) -> None:
    link = zipfile.ZipInfo("link.jpg")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile("x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/a.jpg", b"one")
        archive.writestr("__MACOSX/folder/._a.jpg", b"note")
        archive.writestr("folder/.Trash/b.jpg", b"hidden")
        archive.writestr(link, b"/etc/passwd")
        archive.writestr("locked.jpg", b"two")
    content = bytearray(Path("x.zip").read_bytes())
    entry = content.index(b"locked.jpg", content.index(b"PK\x01\x02")) - 46
    content[entry + 8] |= 1  # the flag of an encrypted member
    Path("x.zip").write_bytes(content)
    members = items_of("x.zip")
    assert [item.name for item in members] == ["x.zip!/folder/a.jpg", "x.zip!/link.jpg", "x.zip!/locked.jpg"]
    assert members[0].content == b"one"
    assert [str(item.content).rpartition(": ")[2] for item in members[1:]] == ["a link; refused", "encrypted; refused"]


def zip_without(huge: bytes) -> bytes:
    """Return a zip whose member is said to be large, and is damaged."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("huge.jpg", huge)
    content = bytearray(buffer.getvalue())
    content[:4] = b"gone"  # the member's own header; the archive's list stays
    return bytes(content)


def tar_without(size: int) -> bytes:
    """Return a tar that ends after the header of its large member."""
    entry = tarfile.TarInfo("huge.jpg")
    entry.size = size
    return entry.tobuf()


def test_huge_members_cost_their_own_line(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_archive, "MAX_BYTES", 1 << 16)
    huge = bytes(1 << 17)
    with zipfile.ZipFile("x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("huge.jpg", huge)
        archive.writestr("good.jpg", b"good")
    with tarfile.open("x.tar.gz", "w:gz") as tar:
        add(tar, "huge.jpg", huge)
        add(tar, "good.jpg", b"good")
    for name in ("x.zip", "x.tar.gz"):
        first, second = items_of(name)
        assert "huge.jpg: more than" in str(first.content)
        assert second.content == b"good"
    for name, content in (("x.zip", zip_without(huge)), ("y.tar", tar_without(len(huge)))):
        Path(name).write_bytes(content)
        assert "huge.jpg: more than" in str(
            items_of(name)[0].content
        )  # as its header says: nothing of it could be read
    with tarfile.open("x.tar", "w") as tar:
        add(tar, "good.jpg", b"good")
        add(tar, "p", huge, type=tarfile.XHDTYPE)  # a header extension as long as that
        add(tar, "lost.jpg")
    first, second = items_of("x.tar")
    assert (first.content, second.name) == (b"good", "x.tar")
    assert "damaged archive, the rest of it is lost (a header claims 131,072 bytes" in str(second.content)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_a_damaged_archive_is_one_error_after_its_whole_members(name: str, tree: Path) -> None:
    photos = [os.urandom(3000) for _ in range(3)]
    if name == "x.zip":
        with zipfile.ZipFile(name, "w") as archive:
            for number, photo in enumerate(photos):
                archive.writestr(f"{number}.jpg", photo)
        content = bytearray(Path(name).read_bytes())
        content[content.index(photos[1]) + 5] ^= 255  # its checksum no longer fits
    else:
        mode: Any = f"w:{name.partition('tar')[2][1:]}"
        with tarfile.open(name, mode) as tar:
            for number, photo in enumerate(photos):
                add(tar, f"{number}.jpg", photo)
        content = bytearray(Path(name).read_bytes())[:5000]
    Path(name).write_bytes(content)
    members = items_of(name)
    assert members[0].content == photos[0]
    assert "damaged" in str(members[1].content)
    Path(name).write_bytes(b"text")
    assert "damaged archive" in str(items_of(name)[0].content)
