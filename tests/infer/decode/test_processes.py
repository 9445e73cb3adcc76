"""Decoding in processes: as in threads, for all kinds of content; what happens when a worker or the program is killed."""

from __future__ import annotations

import gc
import io
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vegrt.bundle.bundle import Bundle
from vegrt.errors import DataError, VegrtError
from vegrt.files.text import as_utf8
from vegrt.infer.decode import crew, pace
from vegrt.infer.decode.crew import CALLERS, Way, buffers_for
from vegrt.infer.decode.item import Item
from vegrt.infer.decode.pace import Window
from vegrt.infer.decode.pipeline import stream
from vegrt.infer.decode.processes import RemoteDecoder, Workers
from vegrt.infer.decode.ring import Run, Slot
from vegrt.infer.decode.shared_buffers import SharedBuffers
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image

SMALL = Contract(8, 8)
# SIGINT is ignored, by inheritance, where the tests run in the background
MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from vegrt.cli import main; main()"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return photos of several formats, one with a name that is not UTF-8, and four that are none."""
    paths = [tmp_path / f"{number:02d}.{('jpg', 'png', 'webp')[number % 3]}" for number in range(17)]
    paths.append(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")))
    for number, path in enumerate(paths):
        colours = np.random.default_rng(number).integers(0, 256, (12, 9, 3), np.uint8)
        Image.fromarray(colours).save(path, {"jpg": "JPEG"}.get(path.suffix[1:]))
    (tmp_path / "text.jpg").write_text("text")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.jpg").write_bytes(paths[0].read_bytes()[:-90])
    return [
        *paths[:9],
        tmp_path / "text.jpg",
        tmp_path / "none.jpg",
        tmp_path / "cut.jpg",
        tmp_path / "empty.jpg",
        *paths[9:],
    ]


def all_kinds(files: list[Path]) -> list[Item | None]:
    """Return items of all kinds of content, good and bad, with pauses among them."""

    def refused() -> bytes:
        raise DataError("behind a URL: 404")

    content = files[0].read_bytes()
    frame = np.full((8, 8, 3), 7, np.uint8)
    others: list[Item | None] = [
        *(Item("bytes", content), Item("fetched", lambda: content), Item("frame", frame), None),
        *(Item("bad bytes", b"text"), Item("refused", refused), Item("folder", DataError("cannot be read")), None),
    ]
    paths: list[Item | None] = [Item(as_utf8(path), path) for path in files]
    return [*paths, *others, *paths, *others, *others[::-1]]


def expected(item: Item) -> NDArray[np.uint8] | str:
    try:
        content = item.content() if callable(item.content) else item.content
        if isinstance(content, DataError):
            raise content
        return content if isinstance(content, np.ndarray) else load_image(content, SMALL, item.name)
    except DataError as error:
        return str(error).encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize("way", ["threads", "processes"])
@pytest.mark.parametrize("size", [5, 64])
def test_both_ways_give_the_same_for_every_kind_of_content(way: Way, size: int, files: list[Path]) -> None:
    items = all_kinds(files)
    contents: list[tuple[str, NDArray[np.uint8] | str]] = []
    for part in stream(items, SMALL, size, way=way, workers=2):
        rows = dict(zip(part.readable, part.images.copy(), strict=True))
        contents += [(item.name, part.errors.get(row, rows.get(row, "lost"))) for row, item in enumerate(part.items)]
    wanted = [(item.name, expected(item)) for item in items if item is not None]
    assert [name for name, _ in contents] == [name for name, _ in wanted]
    for (name, pixels), (_, want) in zip(contents, wanted, strict=True):
        assert np.array_equal(pixels, want), name


def test_an_endless_source_is_read_no_further_than_the_buffers_reach(files: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Item]:
        nonlocal taken
        while True:
            taken += 1
            yield Item("x", files[0])

    parts = stream(endless(), SMALL, 4, way="processes", workers=1)
    for asked in range(1, 40):
        next(parts)
        assert taken <= (asked + buffers_for(4, 1)) * 4
    parts.close()
    assert not children(os.getpid())


def test_a_killed_worker_is_an_error_that_names_the_signal(files: list[Path]) -> None:
    parts = stream((Item("x", files[0]) for _ in itertools.count()), SMALL, 4, way="processes", workers=1)
    next(parts)
    os.kill(children(os.getpid())[0], signal.SIGKILL)
    with pytest.raises(
        VegrtError, match=r"killed \(SIGKILL\) at x.*, most often for lack of memory; .*--decode threads"
    ):
        list(parts)
    assert not children(os.getpid())
    del parts
    gc.collect()
    assert not [link for link in Path("/proc/self/fd").iterdir() if "vegrt-decode" in os.path.realpath(link)]


def test_a_worker_logs_here_and_its_faults_are_no_bad_photos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dark = io.BytesIO()
    Image.fromarray(np.full((8, 8), 9000, np.uint16)).save(dark, "PNG")
    (tmp_path / "dark.png").write_bytes(dark.getvalue())
    run = Run(Slot(0, np.empty(0, np.uint8), [Item("dark", tmp_path / "dark.png")]), 0, 1)
    with decoder_for((1, 8, 8, 3)) as decoder:
        assert decoder.decode(run) == {}
    assert "dark: 16-bit grey with no value above 9000" in caplog.text
    with decoder_for((1, 9, 9, 3)) as decoder, pytest.raises(RuntimeError, match="ValueError: could not broadcast"):
        decoder.decode(run)


def test_workers_that_cannot_start_are_an_error(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(VegrtError, match=r"cannot be started .*--decode threads"):
        list(stream([Item("x", files[0])], SMALL, 4, way="processes"))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(VegrtError, match="ended with exit code 1 while it started"):
        list(stream([Item("x", files[0])], SMALL, 4, way="processes"))


def test_auto_goes_over_to_processes_where_the_consumer_waits_for_threads(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(crew, "usable_cores", lambda: 16.0)
    monkeypatch.setattr(pace, "WINDOW_S", 0.05)
    caplog.set_level(logging.INFO)
    parts = stream((Item(str(n), files[n % 9]) for n in itertools.count()), SMALL, 4, way="auto", workers=3)
    pixels = [load_image(path, SMALL) for path in files[:9]]
    number, deadline = 0, time.monotonic() + 60
    while number < 200 or threads_named("decode-") != 3 * CALLERS:  # the three that decoded have left
        part = next(parts)
        assert [int(item.name) for item in part.items] == list(range(number, number + 4))
        assert all(np.array_equal(part.images[row], pixels[(number + row) % 9]) for row in range(4))
        number += 4
        assert time.monotonic() < deadline
    parts.close()
    assert "from now on 3 processes decode" in caplog.text


FALLS_SHORT = Window(seconds=2, images=8000, waited_s=1.2, cpu_s=8, source_s=0.2)


@pytest.mark.parametrize(
    ("window", "cores", "changes"),
    [
        (FALLS_SHORT, 16, True),
        (FALLS_SHORT, 2, False),  # nothing to gain
        (FALLS_SHORT, 4.5, False),  # the cores are busy
        (Window(2, 8000, 0.2, 8, 0.2), 16, False),  # the model is slower
        (Window(2, 8000, 1.2, 8, 1.5), 16, False),  # the source is slower
    ],
)
def test_threads_fall_short_only_where_processes_would_help(window: Window, cores: float, changes: bool) -> None:
    assert bool(window.shortfall(cores)) is changes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_command(number: signal.Signals, bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    words = ["-", "--bundle", bundle.path, "-o", out, "--batch", 8, "--decode", "processes", "--decode-workers", 1]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "infer", *map(str, words)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin
    process.stdin.write(f"{photos}/test/Beet\n".encode())
    process.stdin.flush()
    part = tmp_path / "out.jsonl.part"
    wait_until(lambda: part.exists() and part.read_bytes().count(b"\n") == 20)
    (worker,) = children(process.pid)
    os.killpg(process.pid, number)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    wait_until(partial(is_gone, worker))
    if number == signal.SIGINT:
        assert process.returncode == 130, errors
        assert errors.decode().splitlines()[-1].endswith("out.jsonl.part; to resume, repeat the command with --resume")
        assert b"Traceback" not in errors


@contextmanager
def decoder_for(shape: tuple[int, ...]) -> Iterator[RemoteDecoder]:
    """Yield a worker that is ready, with one buffer of this shape."""
    with closing(SharedBuffers(1, shape)) as shared, closing(Workers(1, 1, shared, SMALL, keep=False)) as workers:
        workers.decoders[0].wait_until_ready()
        yield workers.decoders[0]


def children(pid: int) -> list[int]:
    """Return the processes that a process started and that still run."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:  # ended meanwhile
            continue
        if int(parent) == pid and state != "Z":
            pids.append(int(folder.name))
    return pids


def is_gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def threads_named(prefix: str) -> int:
    return sum(thread.name.startswith(prefix) for thread in threading.enumerate())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
