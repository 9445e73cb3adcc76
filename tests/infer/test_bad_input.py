"""Whatever lies in a folder: an answer or one clear line for each, and the run goes on."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vegrt.errors import DataError
from vegrt.infer.decode.pipeline import stream
from vegrt.infer.sources.open import SourceOptions, open_sources
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import decode, load_image

SMALL = Contract(16, 16)
RED = (220, 30, 40)


def answers(*sources: Path) -> dict[str, str | tuple[int, ...]]:
    """Return each file's name with its mean colour, or its error."""
    outcomes: dict[str, str | tuple[int, ...]] = {}
    for part in stream(open_sources(sources, SourceOptions()), SMALL, 4):
        colours = dict(zip(part.readable, part.images.mean(axis=(1, 2)).round().astype(int).tolist(), strict=True))
        for row, item in enumerate(part.items):
            name = item.name.rpartition("/")[2]
            outcomes[name] = part.errors[row] if row in part.errors else tuple(colours[row])
    return outcomes


def picture(mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (40, 30), RED).convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """Return a PNG of some bytes that claims to have side x side pixels."""
    small = encoded(Image.new("1", (8, 8)), "PNG")
    head = b"IHDR" + struct.pack(">II", side, side) + small[24:29]
    return small[:12] + head + struct.pack(">I", zlib.crc32(head)) + small[33:]


def test_every_kind_of_picture_is_classified(tmp_path: Path) -> None:
    blue = Image.new("RGB", (40, 30), (0, 0, 255))
    picture("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    picture("P").save(tmp_path / "palette.png")
    picture("RGBA").save(tmp_path / "alpha.png")
    picture("L").save(tmp_path / "grey.jpg", quality=95)
    picture().quantize(4).save(tmp_path / "animated.gif", save_all=True, append_images=[blue.quantize(4)] * 3)
    for suffix in ("bmp", "tif", "tiff", "webp"):
        picture().save(tmp_path / f"kind.{suffix}")
    Image.fromarray(np.full((30, 40), 128 * 257, np.uint16)).save(tmp_path / "deep.png")
    outcomes = answers(tmp_path)
    grey = picture("L").getpixel((0, 0))
    assert outcomes.pop("grey.jpg") == (grey,) * 3
    assert outcomes.pop("deep.png") == (128,) * 3
    assert len(outcomes) == 8
    for name, colour in outcomes.items():
        assert isinstance(colour, tuple), (name, colour)
        assert max(abs(value - expected) for value, expected in zip(colour, RED, strict=True)) <= 6, (name, colour)


def test_a_photo_is_turned_upright_by_its_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: 90 degrees clockwise shows it upright
    two = Image.new("RGB", (40, 20))
    two.paste(RED, (0, 0, 20, 20))  # left, so on top once it stands
    two.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    (part,) = stream(open_sources([tmp_path], SourceOptions()), Contract(16, 16), 4)
    top, bottom = part.images[0, :6].mean(), part.images[0, 10:].mean()
    assert top > 60 > 10 > bottom


def test_a_file_that_is_no_picture_is_one_clear_line(tmp_path: Path) -> None:
    whole = encoded(picture(), "JPEG")
    contents = {
        "empty.jpg": b"",
        "text.jpg": b"no picture",
        "cut.jpg": whole[: len(whole) * 2 // 3],
        "bomb.png": bomb(50_000),
        "phone.heic": b"\0\0\0\x18ftypheic" + bytes(40),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "good.jpg").write_bytes(whole)
    outcomes = answers(tmp_path)
    assert isinstance(outcomes.pop("good.jpg"), tuple)
    expected = {
        "empty.jpg": "empty file (0 bytes)",
        "text.jpg": "not a photo but text; expected JPEG, PNG",
        "cut.jpg": "damaged image",
        "bomb.png": "pixels",
        "phone.heic": "pip install pillow-heif",
        "gone.jpg": "no such file",
        "pipe.jpg": "not a regular file",
    }
    if find_spec("pillow_heif"):
        expected["phone.heic"] = "phone.heic: "
    assert outcomes.keys() == expected.keys()
    for name, words in expected.items():
        assert str(outcomes[name]).startswith(str(tmp_path / name)), outcomes
        assert words in str(outcomes[name]), outcomes
        assert len(str(outcomes[name]).splitlines()) == 1


def test_a_picture_too_large_for_memory_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    content = encoded(picture(), "JPEG")
    monkeypatch.setattr(Image.Image, "copy", refuse)
    with pytest.raises(DataError, match=r"x\.jpg: not enough memory"):
        decode(content, name="x.jpg")


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
def test_heic_photos_are_read_where_the_plugin_is(tmp_path: Path) -> None:
    import pillow_heif

    pillow_heif.from_pillow(picture()).save(tmp_path / "phone.heic")
    assert isinstance(answers(tmp_path)["phone.heic"], tuple)


@contextmanager
def nobody() -> Iterator[None]:
    """Run as a user who may read nothing of ours: where tests run as root, permissions do not bind it."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_unreadable_files_are_reported() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        for inside in ("locked.jpg", "closed/x.jpg", "open.jpg"):
            (folder / inside).parent.mkdir(exist_ok=True)
            (folder / inside).write_bytes(encoded(picture(), "JPEG"))
        (folder / "locked.jpg").chmod(0)
        (folder / "closed").chmod(0)
        try:
            with nobody():
                outcomes = answers(folder)
                with pytest.raises(DataError, match=r"closed/x\.jpg: cannot be read \(Permission denied\)"):
                    load_image(folder / "closed/x.jpg", SMALL)
        finally:
            (folder / "closed").chmod(0o755)
    assert isinstance(outcomes["open.jpg"], tuple)
    assert "locked.jpg: cannot be read (Permission denied)" in str(outcomes["locked.jpg"])
    assert "closed: folder cannot be read (Permission denied)" in str(outcomes["closed"])


def test_a_name_of_any_bytes_is_printable(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.jpg")).write_bytes(b"text")
    ((name, reason),) = answers(tmp_path).items()
    assert name == "\\xff\n.jpg"
    assert "\\xff" in str(reason)
    str(reason).encode("utf-8")


def test_a_path_that_is_too_long_for_the_system_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(str(tmp_path / ("x" * 5000 + ".jpg")) + "\n")
    ((_, reason),) = answers(tmp_path / "list.txt").items()
    assert "cannot be read" in str(reason) or "no such file" in str(reason)
