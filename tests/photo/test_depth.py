"""Samples of more than 8 bits: scaled by what the file says, or refused. The oracle is the same picture in 8 bits."""

from __future__ import annotations

import io
import logging
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vegrt.errors import DataError
from vegrt.photo.preprocess import decode, upright_rgb

GREY = np.linspace(0, 255, 48 * 40).round().astype(np.uint8).reshape(40, 48)
MIN, MAX, S_MIN, S_MAX = 280, 281, 340, 341


def tiff(samples: NDArray[np.generic], tags: dict[int, float] | None = None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "TIFF", tiffinfo=tags or {})
    return buffer.getvalue()


def png(samples: NDArray[np.generic], significant: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "PNG")
    data = buffer.getvalue()
    return data[:33] + (chunk(b"sBIT", bytes([significant])) if significant else b"") + data[33:]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png16(samples: NDArray[np.uint16]) -> bytes:
    """Return (H, W, C) samples as a PNG of 16 bits: Pillow writes none in colour."""
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def patched(data: bytes, tag: int, value: int) -> bytes:
    """Return a TIFF with another value in a tag of one SHORT."""
    at = data.index(struct.pack("<HHI", tag, 3, 1))
    return data[: at + 8] + struct.pack("<HH", value, 0) + data[at + 12 :]


def wide(scale: float, kind: type[np.generic] = np.uint16) -> NDArray[Any]:
    return (GREY.astype(np.float64) * scale).astype(kind)


FIT = {
    "16 bits": tiff(wide(257)),
    "16 bits, PNG": png(wide(257)),
    "16 bits, PGM": b"P5 48 40 65535\n" + wide(257).astype(">u2").tobytes(),
    "12 bits, PGM": b"P5 48 40 4095\n" + wide(4095 / 255).astype(">u2").tobytes(),
    "12 bits in 16, its maximum stated": tiff(wide(4095 / 255), {MAX: 4095}),
    "10 bits in 16, its maximum stated": tiff(wide(1023 / 255), {MAX: 1023}),
    "12 bits in 16, minimum and maximum stated": tiff(wide(10) + np.uint16(100), {MIN: 100, MAX: 2650}),
    "12 bits, sBIT": png(wide(4095 / 255), 12),
    "12 bits, sBIT, in the upper bits": png((wide(4095 / 255).astype(np.uint16) << 4).astype(np.uint16), 12),
    "float": tiff(wide(1 / 255, np.float32)),
    "float to 255, stated": tiff(wide(1, np.float32), {S_MIN: 0.0, S_MAX: 255.0}),
    "float around 0, stated": tiff(wide(2 / 255, np.float32) - np.float32(1), {S_MIN: -1.0, S_MAX: 1.0}),
    "int32, stated": tiff(wide(1000, np.int32), {S_MAX: 255_000}),
    "int32 below 0, stated": tiff(wide(10, np.int32) - np.int32(500), {S_MIN: -500, S_MAX: 2050}),
    "0 is white": patched(tiff((65535 - wide(257)).astype(np.uint16)), 262, 0),
    "float, 0 is white": patched(tiff((1 - wide(1 / 255, np.float32)).astype(np.float32)), 262, 0),
}
REFUSED = {
    "12 bits in 16": (tiff(wide(16)), "16-bit grey with no value above 4080 of 65535"),
    "12 bits in 16, PNG": (png(wide(16)), "16-bit grey with no value above 4080 of 65535"),
    "8 bits in 16": (tiff(wide(1)), "no value above 255 of 65535"),
    "float to 255": (
        tiff(wide(1, np.float32)),
        "float samples from 0 to 255, but the file does not state black and white",
    ),
    "float below 0": (tiff(wide(1 / 255, np.float32) - np.float32(1)), "float samples from -1 to 0"),
    "float beyond the stated range": (
        tiff(wide(2, np.float32), {S_MAX: 255.0}),
        "to 510, but the file states 0 to 255",
    ),
    "not numbers": (tiff(np.where(GREY == 9, np.nan, 0).astype(np.float32)), "with NaN or infinity"),
    "infinite": (tiff(np.where(GREY == 9, np.inf, 0).astype(np.float32)), "with NaN or infinity"),
    "int32": (tiff(wide(1, np.int32)), "but the file does not state black and white"),
    "signed 8 bits": (tiff(GREY, {339: 2}), "signed 8-bit samples, but"),
    "12 bits in 16, colour": (png16(np.stack([wide(16)] * 3, 2)), "16-bit colour with no value above 4095"),
    "12 bits in 16, grey and alpha": (
        png16(np.stack([wide(16), wide(257)], 2)),
        "16-bit colour with no value above 4095",
    ),
    "12 bits in 16, alpha": (
        png16(np.stack([*[wide(16)] * 3, wide(257)], 2)),
        "16-bit colour with no value above 4095",
    ),
}


@pytest.mark.parametrize("name", FIT)
def test_black_and_white_are_what_the_file_says(name: str) -> None:
    decoded = np.asarray(decode(FIT[name]), int)
    assert np.abs(decoded - GREY[..., None]).max() <= 1
    with Image.open(io.BytesIO(FIT[name])) as image:
        assert np.array_equal(np.asarray(upright_rgb(image)), decoded)


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_file_does_not_say_is_not_guessed(name: str) -> None:
    data, words = REFUSED[name]
    with pytest.raises(DataError, match=f"x: .*{words}") as caught:
        decode(data, name="x")
    assert len(str(caught.value).splitlines()) == 1


def test_full_16_bits_are_rounded_as_ever() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = (every.astype(np.float32) / np.float32(257)).round().astype(np.uint8)
    for data in (tiff(every), png(every)):
        assert np.array_equal(np.asarray(decode(data))[..., 0], expected)


def test_black_is_black_and_dark_is_read_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    assert np.asarray(decode(png(np.zeros((8, 8), np.uint16)))).max() == 0
    assert np.asarray(decode(tiff(wide(4), {MAX: 65535}))).max() == 4
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert np.asarray(decode(png(wide(60)), name="x")).max() == 60
    assert "x: 16-bit grey with no value above 15300 of 65535" in caplog.text


def test_colour_of_16_bits_keeps_the_upper_eight() -> None:
    colours = np.stack([wide(257), wide(100), wide(257)], 2)
    assert np.array_equal(np.asarray(decode(png16(colours))), colours >> 8)


def test_wide_samples_are_scaled_in_strips() -> None:
    samples = np.zeros((2400, 2000), np.uint16)
    samples[0, 0] = 65535
    data = png(samples)
    decode(data)
    tracemalloc.start()
    try:
        decode(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * samples.size  # of numpy's own; float32 copies of all would be 12 bytes for each pixel
