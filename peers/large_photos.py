"""12-megapixel JPEGs: Pillow's full decode against vegrt's, which decodes at a reduced scale, and the agreement of top-1.

    python peers/large_photos.py PHOTOS --bundle BUNDLE [--limit 30] [--variant fp32] [--rounds 3]

The JPEGs are the photos, enlarged to 4000 x 3000 in a temporary folder. Each round times both decoders, in one thread; then the
same runner classifies both results. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vegrt.infer.runtimes.open import open_runner
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image, prepare

SIZE = (4000, 3000)


def enlarge(photos: list[Path], folder: Path) -> list[Path]:
    """Write each photo as a JPEG of 12 megapixels; return the files."""
    files = []
    for number, photo in enumerate(photos):
        files.append(folder / f"{number:04d}.jpg")
        Image.open(photo).convert("RGB").resize(SIZE, Image.Resampling.BICUBIC).save(files[-1], quality=92)
    return files


def full(path: Path, contract: Contract) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB from a full decode, then the same resize and crop."""
    return prepare(Image.open(path).convert("RGB"), contract)


def timed(
    decode: Callable[[Path, Contract], NDArray[np.uint8]], files: list[Path], contract: Contract
) -> tuple[float, NDArray]:
    """Return the duration in seconds and the (N, H, W, 3) uint8 pixels."""
    start = time.perf_counter()
    images = [decode(file, contract) for file in files]
    return time.perf_counter() - start, np.stack(images)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--variant", default="fp32")
    parser.add_argument("--limit", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    photos = sorted(arguments.photos.rglob("*.jpg"))
    photos = photos[:: max(1, len(photos) // arguments.limit)][: arguments.limit]
    opened = open_runner(arguments.bundle, arguments.variant)
    contract = opened.bundle.manifest.contract
    seconds: dict[str, list[float]] = {"full": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        files = enlarge(photos, Path(folder))
        size_mb = statistics.mean(file.stat().st_size for file in files) / 1e6
        for _ in range(arguments.rounds):
            theirs_s, theirs = timed(full, files, contract)
            ours_s, ours = timed(load_image, files, contract)
            seconds["full"].append(theirs_s)
            seconds["ours"].append(ours_s)
    ratios = [theirs / ours for theirs, ours in zip(seconds["full"], seconds["ours"], strict=True)]
    same = opened.runner.logits(theirs).argmax(axis=1) == opened.runner.logits(ours).argmax(axis=1)
    line = {
        "name": f"JPEG {SIZE[0]} x {SIZE[1]}, {opened.candidate}",
        "images": len(files),
        "mean_size_mb": round(size_mb, 2),
        "full_decode_ms": round(1e3 * statistics.median(seconds["full"]) / len(files), 2),
        "vegrt_ms": round(1e3 * statistics.median(seconds["ours"]) / len(files), 2),
        "times_faster": round(statistics.median(ratios), 2),
        "times_faster_lowest": round(min(ratios), 2),
        "same_top1": f"{int(same.sum())} of {len(same)}",
        "mean_abs_pixel_difference": round(float(np.abs(theirs.astype(int) - ours).mean()), 3),
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
