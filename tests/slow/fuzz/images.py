"""Images of all formats, decoded as the program does: from bytes, or from a file, which some decoders read in another way."""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from tests.slow.fuzz.mutate_bytes import mutated_bytes
from tests.slow.fuzz.target import Target
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image

CONTRACT = Contract(32, 36)
_PNG = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def images() -> dict[str, bytes]:
    """Return whole images: every format that is read, and the rarer kinds of each."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    photo = Image.fromarray(pixels).resize((96, 72), Image.Resampling.BICUBIC)
    grey, alpha = photo.convert("L"), photo.convert("RGBA")
    deep = np.asarray(grey).astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tagged: dict[str, Any] = {"exif": exif, "icc_profile": profile}
    files = {
        "jpeg": encoded(photo, "JPEG", **tagged),
        "jpeg progressive": encoded(photo, "JPEG", progressive=True, quality=95, subsampling=0),
        "jpeg grey": encoded(grey, "JPEG"),
        "jpeg cmyk": encoded(photo.convert("CMYK"), "JPEG"),
        "jpeg mpo": encoded(photo, "MPO", save_all=True, append_images=[photo]),
        "png": encoded(photo, "PNG", **tagged),
        "png 16": encoded(Image.fromarray(deep), "PNG"),
        "png palette": encoded(photo.quantize(16), "PNG", transparency=b"\x00\x80\xff"),
        "png alpha": encoded(alpha, "PNG"),
        "png animated": encoded(photo, "PNG", save_all=True, append_images=[photo.rotate(90)]),
        "webp": encoded(photo, "WEBP", **tagged),
        "webp lossless": encoded(alpha, "WEBP", lossless=True),
        "webp animated": encoded(photo, "WEBP", save_all=True, append_images=[photo.rotate(90)]),
        "gif": encoded(photo.quantize(32), "GIF", save_all=True, append_images=[photo.rotate(90).quantize(32)]),
        "bmp": encoded(photo, "BMP"),
        "bmp palette": encoded(photo.quantize(16), "BMP"),
        "ppm": encoded(photo, "PPM"),
        "pgm 16": b"P5 96 72 4095\n" + (deep // 16).astype(">u2").tobytes(),
        "pbm text": b"P1 8 8\n" + b"0 1 1 0 1 0 0 1\n" * 8,
        "pfm": b"Pf\n96 72\n-1.0\n" + (deep / 65535).astype("<f4").tobytes(),
        "avif": encoded(photo, "AVIF", **tagged),
        "avif alpha": encoded(alpha, "AVIF"),
        "tiff float": encoded(Image.fromarray((deep / 65535).astype(np.float32)), "TIFF"),
        "tiff int32": encoded(Image.fromarray(deep.astype(np.int32)), "TIFF", tiffinfo={341: 65535}),
        "tiff 16": encoded(Image.fromarray(deep), "TIFF"),
        "tiff lab": encoded(Image.merge("LAB", (grey, grey, grey)), "TIFF"),
    }
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "zstd"):
        files[f"tiff {compression}"] = encoded(photo, "TIFF", compression=compression, **tagged)
    return files | heif(photo)


def heif(photo: Image.Image) -> dict[str, bytes]:
    try:
        import pillow_heif
    except ImportError:
        return {}
    buffer = io.BytesIO()
    pillow_heif.from_pillow(photo).save(buffer)
    return {"heif": buffer.getvalue()}


def damaged(data: bytes, corpus: Sequence[bytes], draws: random.Random) -> bytes:
    """Damage an image; of a PNG the checksums are mostly made right again."""
    changed = bytearray(mutated_bytes(data, corpus, draws))
    if data.startswith(_PNG) and draws.random() < 0.7:
        mend(changed)
    return bytes(changed)


def mend(png: bytearray) -> None:
    """Make the checksums of a PNG's chunks right again: with wrong ones nothing behind them would ever be tried."""
    at = 8
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        if end + 4 > len(png):
            break
        png[end : end + 4] = zlib.crc32(png[at + 4 : end]).to_bytes(4, "big")
        at = end + 4


def read(data: bytes, folder: Path) -> str:
    """Decode an image."""
    source: Path | bytes = data
    if zlib.crc32(data) % 2:
        source = folder / "x"
        source.write_bytes(data)
    pixels = load_image(source, CONTRACT, "x")
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    return "decoded"


TARGETS = (Target("images", lambda base: list(images().values()), read, damaged, weight=3.0),)
