"""The ring of buffers: every item once, in order, whatever its source does, and no more of it in memory than the buffers hold."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vegrt.errors import DataError
from vegrt.infer.decode import crew
from vegrt.infer.decode.crew import BUFFERS
from vegrt.infer.decode.item import Item
from vegrt.infer.decode.pipeline import Decoded, batches, stream
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image

SMALL = Contract(8, 8)


def pixels(number: int) -> Item:
    return Item(str(number), np.full((8, 8, 3), number % 251, np.uint8))


def seen(parts: Iterator[Decoded]) -> list[tuple[str, int | str]]:
    """Return each item's name with its pixel value or error."""
    contents: list[tuple[str, int | str]] = []
    for part in parts:
        values = dict(zip(part.readable, part.images[:, 0, 0, 0].tolist(), strict=True))
        contents += [(item.name, part.errors.get(row, values.get(row, "lost"))) for row, item in enumerate(part.items)]
    return contents


@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("size", [1, 4, 7, 64])
def test_every_item_comes_once_and_in_order(size: int, threads: int) -> None:
    items = [Item(str(n), DataError(f"bad {n}")) if n % 5 == 3 else pixels(n) for n in range(43)]
    expected = [(str(n), f"bad {n}" if n % 5 == 3 else n) for n in range(43)]
    assert seen(stream(items, SMALL, size, workers=threads)) == expected


def test_an_endless_source_is_read_no_further_than_the_buffers_reach() -> None:
    taken = 0

    def endless() -> Iterator[Item]:
        nonlocal taken
        for number in itertools.count():
            taken = number + 1
            yield pixels(number)

    parts = stream(endless(), SMALL, 4, workers=3)
    bases = set()
    for asked in range(1, 30):
        part = next(parts)
        bases.add(part.images.__array_interface__["data"][0])
        assert taken <= (asked + BUFFERS) * 4
    parts.close()
    assert len(bases) == BUFFERS  # used again and again


def test_a_pause_of_the_source_gives_a_short_batch_at_once() -> None:
    more = threading.Event()

    def slow() -> Iterator[Item | None]:
        yield from (None, pixels(0), pixels(1), None, None)
        assert more.wait(30)  # set only once the two have arrived
        yield pixels(2)

    parts = stream(slow(), SMALL, 16, workers=2)
    assert [item.name for item in next(parts).items] == ["0", "1"]
    more.set()
    assert [[item.name for item in part.items] for part in parts] == [["2"]]


def test_what_the_source_raises_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[Item]:
        yield from map(pixels, range(6))
        raise DataError("list.txt: line 7 makes no sense")

    parts = stream(broken(), SMALL, 4, workers=2)
    assert [len(next(parts).items), len(next(parts).items)] == [4, 2]
    with pytest.raises(DataError, match="line 7"):
        next(parts)


def test_an_error_of_the_program_is_not_reported_as_a_bad_image() -> None:
    def fetch() -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(stream([pixels(0), Item("x", fetch)], SMALL, 4))


def test_closing_waits_once_for_all_threads_that_are_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "LEAVE_S", 0.3)
    released = threading.Event()
    started = threading.Semaphore(0)

    def stuck() -> bytes:
        started.release()
        released.wait(60)
        return b""

    parts = stream([*map(pixels, range(8)), *(Item(str(n), stuck) for n in range(16))], SMALL, 8, workers=16)
    next(parts)
    for _ in range(16):
        assert started.acquire(timeout=60)
    before = time.monotonic()
    parts.close()
    released.set()
    assert time.monotonic() - before < 8 * 0.3  # and not 16 times


def test_a_stream_is_ready_when_its_next_batch_comes_without_waiting() -> None:
    more = threading.Event()

    def slow() -> Iterator[Item | None]:
        yield from (pixels(0), None)
        assert more.wait(30)
        yield from (pixels(1), None)

    def becomes_ready() -> bool:
        deadline = time.monotonic() + 30
        while not parts.is_ready() and time.monotonic() < deadline:
            time.sleep(0.001)
        return parts.is_ready()

    parts = stream(slow(), SMALL, 16, workers=2)
    next(parts)
    assert not parts.is_ready()
    more.set()
    assert becomes_ready()
    next(parts)
    assert becomes_ready()  # for the end
    assert next(parts, None) is None


def test_no_items_are_no_batches() -> None:
    assert list(stream([], SMALL, 4)) == []
    assert list(stream([None, None], SMALL, 4)) == []


def test_items_keep_what_was_fetched_only_if_asked(photos: Path) -> None:
    path = photos / "test/Beet/000.jpg"
    content = path.read_bytes()
    items = [Item("fetched", lambda: content), Item("path", path)]
    (with_content,), (without,) = (list(stream(items, SMALL, 4, keep=keep)) for keep in (True, False))
    assert [item.content for item in with_content.items] == [content, path]
    assert [item.content for item in without.items] == [b"", path]


def test_batches_for_keeping_are_the_callers(photos: Path) -> None:
    paths = sorted(photos.glob("test/Beet/*.jpg"))[:9]
    pixels_read = np.concatenate([batch.images for batch in list(batches([*paths, photos], SMALL, 2))])
    assert (pixels_read == np.stack([load_image(path, SMALL) for path in paths])).all()
