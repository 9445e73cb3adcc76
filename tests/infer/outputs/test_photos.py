"""Files that go into folders of the user's: never over another one, never outside."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vegrt.errors import VegrtError
from vegrt.infer.decode.item import Content, Item
from vegrt.infer.decode.pipeline import Decoded
from vegrt.infer.outputs.annotate import caption
from vegrt.infer.outputs.photos import PhotoOutputs, annotate, class_folder, file_name, sort_into
from vegrt.infer.outputs.rows import AnswerRow, RowFormat
from vegrt.photo.preprocess import decode

ROW = AnswerRow("x.jpg", "Beet", (("Beet", 0.973),))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def item(path: Path, content: bytes) -> Item:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content)
    return Item(str(path), path)


def test_photos_of_one_name_stay_apart_and_a_repetition_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = item(tmp_path / "a/1.jpg", b"one"), item(tmp_path / "b/1.jpg", b"two")
    member = Item("z.zip!/in/1.jpg", b"three")
    for _ in range(2):
        targets = [sort_into(out, each, "Beet") for each in (first, second, member)]
    assert sorted(files(out).values()) == [b"one", b"three", b"two"]
    assert [target.read_bytes() for target in targets] == [b"one", b"two", b"three"]
    assert targets[0] == out / "Beet/1.jpg"
    assert all(target.name.startswith("1-") and target.suffix == ".jpg" for target in targets[1:])
    assert targets[0].samefile(tmp_path / "a/1.jpg")
    assert not list(out.rglob(".*"))


def test_no_file_of_the_user_is_overwritten(tmp_path: Path) -> None:
    mine = item(tmp_path / "out/Beet/1.jpg", b"mine")
    sort_into(tmp_path / "out", item(tmp_path / "1.jpg", b"new"), "Beet")
    assert files(tmp_path / "out")["Beet/1.jpg"] == b"mine"
    assert sorted(files(tmp_path / "out").values()) == [b"mine", b"new"]
    assert mine.name


def test_where_links_are_impossible_copies_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    first = item(tmp_path / "1.jpg", b"one")
    second = item(tmp_path / "b/1.jpg", b"two")
    monkeypatch.setattr(os, "link", refuse)
    for _ in range(2):
        sort_into(tmp_path / "out", first, "Beet")
        sort_into(tmp_path / "out", second, "Beet")
    assert sorted(files(tmp_path / "out").values()) == [b"one", b"two"]
    assert not (tmp_path / "out/Beet/1.jpg").samefile(tmp_path / "1.jpg")


def test_a_link_is_followed_to_the_photo(tmp_path: Path) -> None:
    item(tmp_path / "real.jpg", b"photo")
    (tmp_path / "link.jpg").symlink_to("real.jpg")
    target = sort_into(tmp_path / "out", Item("link.jpg", tmp_path / "link.jpg"), "Beet")
    assert not target.is_symlink()
    assert (target.name, target.read_bytes()) == ("link.jpg", b"photo")
    with pytest.raises(FileNotFoundError):
        sort_into(tmp_path / "out", Item("gone.jpg", tmp_path / "gone.jpg"), "Beet")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_class_name_is_one_folder(label: str) -> None:
    name = class_folder(label)
    assert name not in ("", ".", "..")
    assert not {"/", "\0"} & set(name)
    assert Path("out", name).parent == Path("out")


def test_class_names_do_not_leave_the_folder(tmp_path: Path) -> None:
    photo = item(tmp_path / "1.jpg", b"one")
    for label in ("../../etc", "..", "/abs", "a/b"):
        sort_into(tmp_path / "deep/out", photo, label)
    assert set(files(tmp_path)) == {"1.jpg"} | {
        f"deep/out/{name}/1.jpg" for name in ("%2E.%2F..%2Fetc", "%2E.", "%2Fabs", "a%2Fb")
    }
    (tmp_path / "deep/out/Beet").symlink_to(tmp_path)
    with pytest.raises(VegrtError, match="Beet: a link"):
        sort_into(tmp_path / "deep/out", photo, "Beet")


def test_names_of_items() -> None:
    assert file_name(Item("z.zip!/../../a b.jpg", b"")) == "a b.jpg"
    assert file_name(Item("https://host/dir/a%20b.jpg?size=3", b"")) == "a b.jpg"
    assert file_name(Item("https://host/", b"")) == "image"
    assert file_name(Item("dir/clip.mp4#120", np.zeros((2, 2, 3), np.uint8))) == "clip.mp4#120"
    assert file_name(Item("shown", Path("dir/real\n.jpg"))) == "real\n.jpg"


def test_an_annotated_copy_is_the_whole_photo_with_a_band(tmp_path: Path) -> None:
    photo = Image.new("RGB", (400, 300), (200, 10, 10))
    photo.save(tmp_path / "x.jpg", quality=95)
    buffer = io.BytesIO()
    photo.save(buffer, "GIF")
    contents: dict[str, Content] = {
        "x.jpg": tmp_path / "x.jpg",
        "a.zip!/y.gif": buffer.getvalue(),
        "c.mp4#3": np.asarray(photo),
    }
    for name, content in contents.items():
        annotate(tmp_path / "out", Item(name, content), ROW, RowFormat())
    assert set(files(tmp_path / "out")) == {"x.jpg", "y.gif.png", "c.mp4#3.png"}
    for path in (tmp_path / "out").iterdir():
        drawn = np.asarray(decode(path)).astype(int)
        assert drawn.shape == (300, 400, 3)
        assert drawn[:20].max() > 230 > 30 > drawn[0].max()  # white on black
        assert np.abs(drawn[60:] - (200, 10, 10)).max() < 12  # and nothing below


def test_captions() -> None:
    assert caption(ROW, RowFormat()) == "Beet 97.3 %"
    assert (
        caption(AnswerRow("x", "unsure", (("Beet", 0.41),)), RowFormat(min_probability=0.5)) == "unsure (Beet 41.0 %)"
    )
    assert caption(AnswerRow("x", "Beet", (("Beet", 7.125),)), RowFormat(scores="logits")) == "Beet 7.12"
    assert caption(AnswerRow("x", "a\n\x1b\u202e", (("a\n\x1b\u202e", 0.5),)), RowFormat()) == r"a\n\x1b\u202e 50.0 %"


def test_a_class_name_that_is_too_long_for_the_photo_is_cut_so_that_the_score_can_be_read(tmp_path: Path) -> None:
    shark = "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias"
    row = AnswerRow("x.png", shark, ((shark, 0.973),))
    assert caption(row, RowFormat(), 18) == "great white shark… 97.3 %"
    Image.new("RGB", (224, 224), (200, 10, 10)).save(tmp_path / "x.png")
    annotate(tmp_path / "out", Item("x.png", tmp_path / "x.png"), row, RowFormat())
    band = np.asarray(decode(tmp_path / "out/x.png"))[:12]
    columns = np.flatnonzero(band.max(axis=(0, 2)) > 100)
    assert 150 < columns[-1] < 220  # the whole text, up to its per cent sign


def test_a_class_name_that_is_too_long_for_a_folder_is_cut(tmp_path: Path) -> None:
    names = [class_folder("당근" * 60 + end) for end in ("", "a", "b")]
    assert len(set(names)) == 3
    for name in names:
        (tmp_path / name).mkdir()
        assert name.startswith("당근당근")


def test_tiny_photos_and_long_names_can_be_drawn_on(tmp_path: Path) -> None:
    Image.new("RGB", (9, 7)).save(tmp_path / "x.png")
    row = AnswerRow("x.png", "B" * 300, (("B" * 300, 1.0),))
    annotate(tmp_path / "out", Item("x.png", tmp_path / "x.png"), row, RowFormat())
    with Image.open(tmp_path / "out/x.png") as drawn:
        assert drawn.size == (9, 7)


def copies(folder: Path, *items: Item) -> None:
    rows = [AnswerRow(copied.name, "Beet", (("Beet", 0.9),)) for copied in items]
    pixels = np.zeros((len(items), 8, 8, 3), np.uint8)
    extras = PhotoOutputs(annotate=folder / "drawn", sort_into=folder / "sorted")
    extras.make(Decoded(list(items), list(range(len(items))), pixels, {}), rows, RowFormat())


def test_a_photo_that_its_own_format_cannot_hold_becomes_a_png(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, size in {"w.webp": (17_000, 4), "w.jpg": (66_000, 4), "ok.jpg": (30, 20)}.items():
        Image.new("RGB", size).save(tmp_path / name, "PNG")
    copies(tmp_path, *(Item(name, tmp_path / name) for name in ("w.webp", "w.jpg", "ok.jpg")))
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"w.webp.png", "w.jpg.png", "ok.jpg"}
    assert not caplog.records


def test_a_name_that_would_become_too_long_is_cut_and_stays_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["a" * 250 + ".gif", "a" * 249 + "b.gif", "\u00e9" * 125 + ".bmp", "x." + "s" * 253]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("RGB", (90, 90), (len(folder), 0, ord(folder[0]))).save(tmp_path / folder / name, "PNG")
    every = [Item(f"{folder}/{name}", tmp_path / folder / name) for folder in ("one", "two") for name in names]
    for _ in range(2):
        copies(tmp_path, *every)
    assert not caplog.records
    for folder in ("drawn", "sorted/Beet"):
        written = [path.name for path in (tmp_path / folder).iterdir()]
        assert len(written) == len(every)
        assert max(len(name.encode()) for name in written) <= 255
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize(
    "error", [RuntimeError("odd"), ValueError(), OSError("encoder error -2"), OSError(36, "File name too long")]
)
def test_what_one_photo_does_to_an_encoder_costs_a_warning(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("bad.png", "good.png"):
        Image.new("RGB", (9, 9 if name == "good.png" else 7)).save(tmp_path / name)
    save = Image.Image.save

    def fail(image: Image.Image, *args: Any, **options: Any) -> None:
        if image.height == 7:
            raise error
        save(image, *args, **options)

    monkeypatch.setattr(Image.Image, "save", fail)
    copies(tmp_path, *(Item(name, tmp_path / name) for name in ("bad.png", "good.png")))
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["good.png"]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("bad.png: could not be copied (")


def test_a_full_disk_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    Image.new("RGB", (9, 9)).save(tmp_path / "x.jpg")
    monkeypatch.setattr(Path, "write_bytes", full)
    for content in (tmp_path / "x.jpg", np.zeros((9, 9, 3), np.uint8)):
        with pytest.raises(VegrtError, match="writing failed \\(No space left on device\\)"):
            copies(tmp_path, Item("x.jpg", content))
