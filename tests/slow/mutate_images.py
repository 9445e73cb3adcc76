"""Damage images of all formats in a seeded way and decode them as the program does: an answer or one line for each, never more.

    python tests/slow/mutate_images.py            # 12,000 of them, in a few minutes
    python tests/slow/mutate_images.py 500 --seed 7

Each is read in a forked worker: 5 seconds and 3 GiB of memory for one. Counted are decoded photos, refusals (a DataError of one
line), tracebacks (anything else), hangs, and crashes of the worker. Exits with 1 unless the last three are 0.
"""

from __future__ import annotations

import argparse
import io
import logging
import multiprocessing
import random
import resource
import sys
import tempfile
import zlib
from collections import Counter
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from vegrt.errors import DataError
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image

LIMIT_S = 5.0
LIMIT_BYTES = 3 << 30
CONTRACT = Contract(32, 36)
BAD = ("traceback", "hang", "crash")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def subjects() -> dict[str, bytes]:
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


def damaged(index: int, seed: int) -> tuple[str, bytes]:
    """Return which subject, and its bytes after one to three kinds of damage: a function of the two numbers."""
    draw = random.Random(f"{seed} {index}")
    names = sorted(subjects())
    name = names[index % len(names)]
    data = bytearray(subjects()[name])
    for _ in range(draw.choice((1, 1, 2, 3))):
        draw.choice((flip, flip, header, header, cut, splice, repeat, insert))(data, draw)
    if name.startswith("png") and draw.random() < 0.7:
        mend(data)
    return name, bytes(data)


def mend(png: bytearray) -> None:
    """Make the checksums of a PNG's chunks right again: with wrong ones nothing behind them would ever be tried."""
    at = 8
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        if end + 4 > len(png):
            break
        png[end : end + 4] = zlib.crc32(png[at + 4 : end]).to_bytes(4, "big")
        at = end + 4


def flip(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.randint(1, 12)):
        if data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def header(data: bytearray, draw: random.Random) -> None:
    values = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF, draw.randrange(256))
    for _ in range(draw.randint(1, 6)):
        if data:
            data[draw.randrange(min(len(data), draw.choice((32, 64, 256))))] = draw.choice(values)


def cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data) + 1) :]


def splice(data: bytearray, draw: random.Random) -> None:
    donor = subjects()[draw.choice(sorted(subjects()))]
    start, size = draw.randrange(len(donor)), draw.randint(1, 400)
    at = draw.randrange(len(data) + 1)
    data[at : at + size] = donor[start : start + size]


def repeat(data: bytearray, draw: random.Random) -> None:
    start, size = draw.randrange(len(data) + 1), draw.randint(1, 200)
    data[start:start] = data[start : start + size] * draw.randint(1, 20)


def insert(data: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(data) + 1)
    data[at:at] = draw.randbytes(draw.randint(1, 64))


def outcome(index: int, seed: int, file: Path) -> str:
    """Return what became of one: every other is read from a file, which some decoders do in another way."""
    _, data = damaged(index, seed)
    source: Path | bytes = data
    if index // len(subjects()) % 2:
        file.write_bytes(data)
        source = file
    try:
        pixels = load_image(source, CONTRACT, "x")
    except DataError as error:
        return "refused" if len(str(error).splitlines()) == 1 else f"traceback: of lines, {error!r}"
    except BaseException as error:
        return f"traceback: {error!r}"
    return "decoded" if pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8 else f"traceback: {pixels.shape}"


def work(indices: range, seed: int, file: Path, results: Connection) -> None:
    """Report one outcome after the other; the parent counts the seconds."""
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for index in indices:
        results.send(outcome(index, seed, file))


def run(count: int, seed: int, folder: Path) -> dict[str, Counter[str]]:
    """Return outcomes by subject. A worker that hangs or dies is replaced by one that goes on behind its last image."""
    fork = multiprocessing.get_context("fork")
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in sorted(subjects())}
    index = 0
    while index < count:
        results, sender = fork.Pipe(duplex=False)
        worker = fork.Process(target=work, args=(range(index, count), seed, folder / "x", sender))
        worker.start()
        sender.close()
        while index < count:
            try:
                outcome = results.recv() if results.poll(LIMIT_S) else "hang"
            except EOFError:
                outcome = "crash"
            kind = outcome.partition(":")[0]
            name, data = damaged(index, seed)
            outcomes[name][kind] += 1
            if kind in BAD:
                sys.stderr.write(f"{name}, number {index}: {outcome}\n")
                (Path(tempfile.gettempdir()) / f"mutated-{seed}-{index}").write_bytes(data)
            index += 1
            if kind in ("hang", "crash"):
                break
        worker.kill()
        worker.join()
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=12_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(arguments.count, arguments.seed, Path(folder))
    kinds = ("decoded", "refused", *BAD)
    total: Counter[str] = sum(outcomes.values(), Counter())
    rows = [("image", *kinds), ("---", *("---:" for _ in kinds))]
    rows += [(name, *(f"{counts[kind]:,}" for kind in kinds)) for name, counts in {**outcomes, "all": total}.items()]
    sys.stdout.writelines(f"| {' | '.join(row)} |\n" for row in rows)
    return 1 if any(total[kind] for kind in BAD) else 0


if __name__ == "__main__":
    sys.exit(main())
