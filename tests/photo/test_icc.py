"""Colour profiles: converted to sRGB, or ignored as older bundles do. The oracle is the profiles' arithmetic, in float64."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from vegrt.infer.decode.photo import to_pixels
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import decode, load_image

D50 = (0.9642, 1.0, 0.8249)
# The primaries, adapted to D50: columns R, G, B of XYZ (Adobe RGB (1998), 4.3.1.4; Display P3 as Apple's profile has them).
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def profile(tags: dict[bytes, bytes], space: bytes = b"RGB ") -> bytes:
    """Return an ICC profile, version 2, of a monitor."""
    text = b"text\0\0\0\0none\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(12 + 67)
    tags = {b"desc": description, b"cprt": text, b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50)} | tags
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", offset + len(body), bytes(4), 0x02400000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed(*D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def rgb_profile(primaries: NDArray[np.float64], gamma: float) -> bytes:
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    tags = {name: b"XYZ \0\0\0\0" + fixed(*column) for name, column in zip(names, primaries.T, strict=True)}
    return profile(tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(gamma)))


def curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def converted(pixels: NDArray[np.uint8], primaries: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    linear = (pixels / 255.0) ** (round(gamma * 256) / 256) @ primaries.T @ np.linalg.inv(SRGB).T
    return encoded_srgb(linear)


def encoded_srgb(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def colours() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


WIDE = {"Adobe RGB": (ADOBE, 2.2), "Display P3": (P3, 2.2), "linear": (SRGB, 1.0)}


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_colours_become_srgb(name: str, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(colours(), kind, icc_profile=rgb_profile(*WIDE[name]), **options)
    decoded = np.asarray(decode(data), float)
    assert np.abs(decoded - converted(colours(), *WIDE[name])).max() < 2
    assert np.abs(decoded - colours()).max() > 10
    assert np.array_equal(np.asarray(decode(data, icc="ignore")), colours())


def test_a_large_jpeg_is_scaled_first_and_converted_then() -> None:
    flat = np.full((1200, 1600, 3), (40, 200, 60), np.uint8)
    data = encoded(flat, "JPEG", quality=95, icc_profile=rgb_profile(*WIDE["Adobe RGB"]))
    small = decode(data, shorter_side=224)
    assert small.size == (800, 600)
    wanted = converted(np.asarray(decode(data, shorter_side=224, icc="ignore"))[:1, :1], *WIDE["Adobe RGB"])
    assert np.abs(np.asarray(small, float) - wanted).max() < 2


def test_an_srgb_profile_changes_no_pixel() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(np.asarray(decode(encoded(colours(), icc_profile=profile))), colours())


def test_a_grey_profile_is_one_of_grey_photos() -> None:
    linear = profile({b"kTRC": curve(1.0)}, b"GRAY")
    ramp = np.arange(256, dtype=np.uint8)[None]
    wanted = encoded_srgb(ramp / 255.0)[..., None]
    assert np.abs(np.asarray(decode(encoded(ramp, icc_profile=linear)), float) - wanted).max() < 2
    deep = encoded(ramp.astype(np.uint16) * np.uint16(257), icc_profile=linear)
    assert np.abs(np.asarray(decode(deep), float) - wanted).max() < 2
    assert np.array_equal(np.asarray(decode(encoded(colours(), icc_profile=linear))), colours())
    of_colours = encoded(ramp, icc_profile=rgb_profile(SRGB, 1.0))
    assert np.abs(np.asarray(decode(of_colours), float) - wanted).max() < 2


def test_alpha_and_palettes_are_converted_too() -> None:
    adobe = rgb_profile(*WIDE["Adobe RGB"])
    image = Image.fromarray(colours()).quantize(16)
    wanted = converted(np.asarray(image.convert("RGB")), *WIDE["Adobe RGB"])
    for variant in (image, image.convert("RGBA")):
        buffer = io.BytesIO()
        variant.save(buffer, "PNG", icc_profile=adobe)
        assert np.abs(np.asarray(decode(buffer.getvalue()), float) - wanted).max() < 2


def test_a_profile_that_cannot_be_used_is_mentioned_once(caplog: pytest.LogCaptureFixture) -> None:
    whole = rgb_profile(*WIDE["Adobe RGB"])
    photos = [encoded(colours(), icc_profile=whole[:200] + bytes(len(whole) - 200))] * 3
    with caplog.at_level(logging.WARNING):
        assert all(np.array_equal(np.asarray(decode(data)), colours()) for data in photos)
    assert len(caplog.records) == 1
    assert "cannot be used" in caplog.text
    for odd in (b"", b"no profile", whole[:100]):
        assert np.array_equal(np.asarray(decode(encoded(colours(), icc_profile=odd))), colours())


def test_the_contract_says_it_and_old_ones_ignore_profiles(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(encoded(colours(), icc_profile=rgb_profile(*WIDE["Adobe RGB"])))
    new = Contract(40, 40)
    assert new.to_dict()["icc"] == "srgb"
    written = new.to_dict()
    del written["icc"]  # as it was before contracts said it
    old = Contract.from_dict(written)
    assert old.icc == "ignore"
    assert old.to_dict() == written
    assert Contract.from_dict(written | {"icc": "ignore"}) == old
    assert Contract.from_dict(new.to_dict()) == new
    assert np.array_equal(load_image(tmp_path / "x.png", old), colours())
    assert np.abs(load_image(tmp_path / "x.png", new) - converted(colours(), *WIDE["Adobe RGB"])).max() < 2
    with Image.open(tmp_path / "x.png") as image:
        assert np.array_equal(to_pixels(image, old), colours())
    with Image.open(tmp_path / "x.png") as image:
        assert np.array_equal(to_pixels(image, new), load_image(tmp_path / "x.png", new))
