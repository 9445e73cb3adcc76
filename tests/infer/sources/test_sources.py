"""Everything that can be named, as items: their names, their order, what is refused, and nothing unpacked to disk."""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import logging
import os
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vegrt.errors import DataError
from vegrt.infer.decode.item import Item, fetched
from vegrt.infer.sources import archive as sources_archive
from vegrt.infer.sources import deadline as sources_deadline
from vegrt.infer.sources.name_list import LONGEST_NAME_BYTES, split_names
from vegrt.infer.sources.open import SourceOptions, is_endless, open_sources, reading_threads
from vegrt.infer.sources.watch import watch


def items(*words: str | Path, **how: object) -> list[Item]:
    return [item for item in open_sources(words, SourceOptions(**how)) if item is not None]  # type: ignore[arg-type]


def names(*words: str | Path, **how: object) -> list[str]:
    return [item.name for item in items(*words, **how)]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty files, and the folder that they are in as the current one."""
    for name in ("b.jpg", "a/2.PNG", "a/1.jpg", "a/notes.md", "a/deep/x.gif", "a.webp", "c/.hidden.jpg", "c/3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_searched_in_the_order_of_paths(tree: Path) -> None:
    expected = [str(tree / name) for name in ("a/1.jpg", "a/2.PNG", "a/deep/x.gif", "a.webp", "b.jpg", "c/3.jpg")]
    assert names(tree) == expected
    assert [Path(name) for name in expected] == sorted(map(Path, expected))
    (tree / "a/loop").symlink_to(tree)
    (tree / "a/linked.jpg").symlink_to(tree / "a")  # a folder all the same
    assert names(tree) == expected


def test_what_is_left_out_of_a_folder_is_said_at_its_end(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = open_sources([tree], SourceOptions())
        next(found)
        assert not caplog.messages
        list(found)
    assert caplog.messages == [f"{tree}: skipped: 1 hidden, 1 not a photo (.md)"]


def test_folders_are_read_as_they_are_needed(tree: Path) -> None:
    found = open_sources([tree], SourceOptions())
    next(found)
    (tree / "c/late.jpg").touch()
    assert str(tree / "c/late.jpg") in [item.name for item in found if item]


def test_a_very_deep_tree_is_no_recursion(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(200):
        deep = deep / "d"
    os.makedirs(deep)  # noqa: PTH103 (Path.mkdir recurses)
    (deep / "x.jpg").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        assert names(tmp_path) == [str(deep / "x.jpg")]
    finally:
        sys.setrecursionlimit(limit)


def test_globs_that_the_shell_left_alone(tree: Path) -> None:
    assert names("a/*.jpg", "*.webp") == ["a/1.jpg", "a.webp"]
    assert names("**/*.jpg") == ["a/1.jpg", "b.jpg", "c/3.jpg"]
    assert names("a/**") == ["a/1.jpg", "a/2.PNG", "a/deep/x.gif", "a/notes.md"]
    assert names("[a]") == ["a/1.jpg", "a/2.PNG", "a/deep/x.gif"]  # a folder that matches is searched
    Path("[odd].jpg").touch()
    assert names("[odd].jpg") == ["[odd].jpg"]
    with pytest.raises(DataError, match="matches nothing"):
        names("*.bmp")


def test_what_is_not_there_is_said_before_the_first_item(tree: Path) -> None:
    with pytest.raises(DataError, match="none: no such file or folder"):
        open_sources(["b.jpg", "none"], SourceOptions())
    (tree / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no images"):
        open_sources([tree, "empty"], SourceOptions())


def test_lists_name_files_folders_archives_and_what_is_not_there(tree: Path) -> None:
    with zipfile.ZipFile("z.zip", "w") as archive:
        archive.write("b.jpg")
    Path("list.txt").write_bytes(b"b.jpg\r\n\nnone.jpg\na\nz.zip\ns3\xff.jpg")
    found = items("list.txt")
    assert [item.name for item in found][:3] == ["b.jpg", "none.jpg", "a/1.jpg"]
    assert [item.name for item in found][5:] == ["z.zip!/b.jpg", "s3\\xff.jpg"]
    assert os.fsencode(fetched(found[-1])) == b"s3\xff.jpg"  # type: ignore[arg-type]


def test_names_that_end_with_nul_may_hold_new_lines(tree: Path) -> None:
    Path("list.txt").write_bytes(b"b.jpg\0new\nline.jpg\r\0")
    assert names("list.txt", null=True) == ["b.jpg", "new\nline.jpg\r"]


@given(st.lists(st.binary(min_size=1, max_size=9)), st.integers(1, 7), st.booleans())
def test_names_are_the_same_wherever_blocks_are_cut(lines: list[bytes], size: int, null: bool) -> None:
    bad = b"\0" if null else b"\r\n"
    lines = [bytes(byte for byte in line if byte not in bad) or b"x" for line in lines]
    content = (b"\0" if null else b"\n").join(lines)
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    mixed = itertools.chain.from_iterable((block, None) for block in blocks)
    found = [name for name in split_names("x", iter(mixed), null=null) if name is not None]
    assert [os.fsencode(name) for name in found] == lines


def test_a_list_that_is_none_takes_no_memory(tree: Path) -> None:
    blocks = itertools.repeat(b"x" * 1000)
    with pytest.raises(DataError, match="a name of more than 65,536 bytes"):
        next(split_names("x", iter(blocks), null=False))
    assert LONGEST_NAME_BYTES == 65_536


def test_stdin_is_read_as_it_comes_and_pauses_are_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with open(reader) as stdin:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", stdin)
        found = open_sources(["-"], SourceOptions())
        os.write(writer, b"b.jpg\na/1")
        assert [getattr(next(found), "name", None) for _ in range(2)] == ["b.jpg", None]
        os.write(writer, b".jpg")
        os.close(writer)
        assert [item.name for item in found if item] == ["a/1.jpg"]


def test_stdin_that_says_nothing_ends_when_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    reading = SourceOptions()
    with open(reader) as stdin:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", stdin)
        found = open_sources(["-"], reading)
        assert next(found) is None
        reading.stop.set()
        assert list(found) == []
    os.close(writer)


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
    found = items(f"x.{kind}")
    assert [item.name.partition("!/")[2] for item in found] == [
        *("../../escape.jpg", "link.jpg", "hard.jpg", "pipe.jpg"),
        long,
    ]
    assert [found[0].content, found[-1].content] == [b"one", b"two"]
    assert all("not a regular file; refused" in str(item.content) for item in found[1:-1])
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
    found = items("x.zip")
    assert [item.name for item in found] == ["x.zip!/folder/a.jpg", "x.zip!/link.jpg", "x.zip!/locked.jpg"]
    assert found[0].content == b"one"
    assert [str(item.content).rpartition(": ")[2] for item in found[1:]] == ["a link; refused", "encrypted; refused"]


def zip_without(huge: bytes) -> bytes:
    """Return a zip whose member is said to be large, and is damaged."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("huge.jpg", huge)
    content = bytearray(made.getvalue())
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
        first, second = items(name)
        assert "huge.jpg: more than" in str(first.content)
        assert second.content == b"good"
    for name, content in (("x.zip", zip_without(huge)), ("y.tar", tar_without(len(huge)))):
        Path(name).write_bytes(content)
        assert "huge.jpg: more than" in str(items(name)[0].content)  # as its header says: nothing of it could be read
    with tarfile.open("x.tar", "w") as tar:
        add(tar, "good.jpg", b"good")
        add(tar, "p", huge, type=tarfile.XHDTYPE)  # a header extension as long as that
        add(tar, "lost.jpg")
    first, second = items("x.tar")
    assert (first.content, second.name) == (b"good", "x.tar")
    assert "damaged archive, the rest of it is lost (a header claims 131,072 bytes" in str(second.content)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_a_damaged_archive_is_one_error_after_what_is_whole(name: str, tree: Path) -> None:
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
    found = items(name)
    assert found[0].content == photos[0]
    assert "damaged" in str(found[1].content)
    Path(name).write_bytes(b"text")
    assert "damaged archive" in str(items(name)[0].content)


class _Server(BaseHTTPRequestHandler):
    """Answers by the path: a photo, an error for ever, an error once, too little, and a byte now and then for ever."""

    asked: dict[str, int]

    def do_GET(self) -> None:
        times = self.asked[self.path] = self.asked.get(self.path, 0) + 1
        if "drip" in self.path:
            return self.drip()
        code = 404 if self.path == "/gone.jpg" else 503 if self.path == "/busy.jpg" and times == 1 else 200
        self.send_response(code)
        self.send_header("Content-Length", "100" if self.path == "/short.jpg" else "5")
        self.end_headers()
        self.wfile.write(b"photo")

    def drip(self) -> None:
        """Send the header a byte at a time, or the body of a whole header, until the other side has gone."""
        head = b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n" + (b"" if "head" in self.path else b"\r\n")
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(head)
            while True:
                self.wfile.write(b"X" if "head" in self.path else b"\xff")
                time.sleep(0.01)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("vegrt.infer.sources.remote.WAITS_S", (0.01, 0.01))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_Server, "asked", {}, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as one:
        thread = threading.Thread(target=partial(one.serve_forever, 0.01))
        thread.start()
        yield f"http://127.0.0.1:{one.server_address[1]}"
        one.shutdown()
        thread.join()


def test_http_is_fetched_late_and_asked_again_when_that_may_help(server: str) -> None:
    good, gone, busy, short = items(*(f"{server}/{name}.jpg" for name in ("good", "gone", "busy", "short")))
    assert _Server.asked == {}
    assert (good.name, fetched(good)) == (f"{server}/good.jpg", b"photo")
    assert fetched(busy) == b"photo"
    with pytest.raises(DataError, match=r"gone\.jpg: cannot be fetched \(404 Not Found\)"):
        fetched(gone)
    with pytest.raises(DataError, match=r"short\.jpg: cannot be fetched"):
        fetched(short)
    assert [_Server.asked[f"/{name}.jpg"] for name in ("good", "gone", "busy", "short")] == [1, 1, 2, 3]
    (nobody,) = items("http://127.0.0.1:9/x.jpg")
    with pytest.raises(DataError, match="cannot be fetched"):
        fetched(nobody)


@pytest.mark.parametrize("name", ["drip-head.jpg", "drip-body.jpg"])
def test_a_server_that_drips_is_left_after_a_while_and_not_asked_again(
    server: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources_deadline, "HEAD_START_S", 0.2)
    (item,) = items(f"{server}/{name}")
    with pytest.raises(DataError, match=rf"{name}: cannot be fetched \(too slow: \d+ bytes in \d+ s\)"):
        fetched(item)
    assert _Server.asked == {f"/{name}": 1}


def test_the_deadline_of_a_photo_moves_with_what_has_been_received(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_deadline, "HEAD_START_S", 0.0)
    deadline = sources_deadline.Deadline()
    assert deadline.is_over
    deadline.add(100 * sources_deadline.MIN_RATE)
    assert 90 < deadline.left_s <= 100


def test_other_urls_are_folders_globs_and_files_of_fsspec(tree: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("b.jpg", "a/1.jpg", "a/readme.md"):
        memory.pipe(f"/photos/{name}", name.encode())
    try:
        assert names("memory://photos") == ["memory:///photos/a/1.jpg", "memory:///photos/b.jpg"]
        assert [fetched(item) for item in items("memory://photos/*.jpg", "memory://photos/a/1.jpg")] == [
            b"b.jpg",
            b"a/1.jpg",
        ]
        with pytest.raises(DataError, match=r"memory://photos/none\.jpg: cannot be listed"):
            names("memory://photos/none.jpg")
        with pytest.raises(DataError, match="cannot be listed"):
            names("nonsense://x")
        (bad,) = items("memory://photos/b.jpg")
        memory.rm("/photos/b.jpg")
        with pytest.raises(DataError, match=r"b\.jpg: cannot be fetched"):
            fetched(bad)
    finally:
        memory.rm("/photos", recursive=True)
    Path("urls.txt").write_text("nonsense://x\n")
    assert "cannot be listed" in str(items("urls.txt")[0].content)
    assert reading_threads(["urls.txt"], 0) == 16 > reading_threads(["b.jpg"], 2) == 2


def test_frames_of_a_video(tree: Path) -> None:
    import av

    with av.open("clip.mp4", "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        for number in range(7):
            picture = np.full((24, 32, 3), number * 30, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
    found = items("clip.mp4", every=3)
    assert [item.name for item in found] == ["clip.mp4#0", "clip.mp4#3", "clip.mp4#6"]
    for item, value in zip(found, (0, 90, 180), strict=True):
        frame = fetched(item)
        assert isinstance(frame, np.ndarray)
        assert frame.shape == (24, 32, 3)
        assert frame.dtype == np.uint8
        assert abs(float(frame.mean()) - value) < 8
    Path("bad.mp4").write_bytes(b"text")
    assert "bad.mp4: damaged video" in str(items("bad.mp4")[0].content)


def test_a_camera_that_is_not_there(tree: Path) -> None:
    for word in ("camera:77", "camera:x"):
        with pytest.raises(DataError, match="no such camera"):
            names(word)
    assert is_endless(["camera:0"], SourceOptions())
    assert not is_endless(["b.jpg"], SourceOptions())


def test_a_watched_folder_gives_what_has_settled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    (tmp_path / "old.jpg").write_bytes(b"old")
    (tmp_path / "empty.jpg").touch()
    looks = watch([tmp_path], stop, poll_s=0.001)

    def until(count: int) -> list[str]:
        """Return the names that come during so many looks."""
        found = []
        while count:
            item = next(looks)
            count -= item is None
            found += [Path(item.name).name] if item else []
        return found

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


def test_only_folders_are_watched(tree: Path) -> None:
    with pytest.raises(DataError, match=r"b\.jpg: not a folder; --follow watches folders"):
        open_sources([tree, "b.jpg"], SourceOptions(follow=True))
