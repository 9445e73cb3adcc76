"""What is opened, and what is said of everything else."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vegrt.errors import DataError
from vegrt.photo.formats import FORMATS, SUFFIXES, image_size, open_image
from vegrt.photo.heif import heif_or_avif
from vegrt.photo.preprocess import decode


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or Image.new("RGB", (40, 30), (200, 90, 20))).save(buffer, kind, **options)
    return buffer.getvalue()


def test_every_format_is_known_by_its_bytes_whatever_the_name_says(tmp_path: Path) -> None:
    for kind in set(FORMATS) - {"HEIF"}:
        (tmp_path / "photo.eps").write_bytes(encoded(kind))
        assert decode(tmp_path / "photo.eps").size == image_size(tmp_path / "photo.eps") == (40, 30), kind
    both = [Image.new("RGB", (40, 30))]
    assert decode(encoded("MPO", save_all=True, append_images=both)).size == (40, 30)  # as phones write JPEG


def test_postscript_starts_no_other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "gs"
    tool.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{ } loop\n"
    bound = struct.pack("<4sIIIIIIH", b"\xc5\xd0\xd3\xc6", 30, len(script), 0, 0, 0, 0, 0xFFFF) + script
    for name, content in {"x.jpg": script, "x.eps": bound}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="not a photo but PostScript; expected JPEG, PNG"):
            decode(tmp_path / name)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("kind", ["EPS", "PDF", "JPEG2000", "ICO", "TGA", "DDS", "PCX", "SGI", "XBM", "MSP", "SPIDER"])
def test_what_else_pillow_knows_is_not_opened(kind: str) -> None:
    image = Image.new("1" if kind in ("XBM", "MSP") else "F" if kind == "SPIDER" else "RGB", (16, 16))
    with pytest.raises(DataError, match="not a photo") as caught:
        decode(encoded(kind, image), name="x.jpg")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>", "but a web page"),
        (b"PK\3\4" + bytes(30), "but a zip archive"),
        (b"\0\0\0\x18ftypisom" + bytes(12), "but a video"),
        (b"RIFF\0\0\0\0WAVEfmt ", "but a sound"),
        (b"a letter", "but text"),
        (b"\x01\x02\x03\x04" * 9, "or an unknown format"),
        (b"\xff\xd8\xff\xe0", "header is that of JPEG"),
        (b"II*\0" + bytes(40), "header is that of TIFF"),
        (b"\0\0\0\x14ftypavif\0\0\0\0mif1", "damaged image"),
    ],
)
def test_one_line_says_what_it_is_instead(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=f"x: .*{words}") as caught:
        decode(content, name="x")
    assert len(str(caught.value).splitlines()) == 1


def test_a_cut_avif_is_one_line() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    whole = encoded("AVIF", noise)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(DataError, match="x: damaged image"):
            decode(whole[: int(len(whole) * share)], name="x")


def test_heic_and_avif_are_told_apart_by_their_brands() -> None:
    def head(*brands: bytes) -> bytes:
        return struct.pack(">I4s4s4s", 16 + 4 * len(brands[1:]), b"ftyp", brands[0], bytes(4)) + b"".join(brands[1:])

    assert heif_or_avif(head(b"heic", b"mif1", b"heic")) == "HEIF"
    assert heif_or_avif(head(b"mif1", b"heic")) == "HEIF"
    assert heif_or_avif(head(b"mif1", b"miaf", b"avif")) == "AVIF"
    assert heif_or_avif(head(b"avif")) == "AVIF"
    assert heif_or_avif(head(b"isom", b"mp41") + b"avif") == ""
    assert heif_or_avif(b"\0\0\0\x08ftyp") == ""


def test_the_header_alone_gives_the_size() -> None:
    assert image_size(encoded("PNG")[:60]) == (40, 30)
    with pytest.raises(DataError, match="not a photo"):
        image_size(b"text")
    with open_image(encoded("TIFF"), "x") as image:
        assert image.format in FORMATS


def test_every_suffix_is_one_that_pillow_gives_to_a_format_of_the_list() -> None:
    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in {*FORMATS, "MPO", "DIB"}}
    assert SUFFIXES - known == {".heic", ".heif", ".hif"} - known
