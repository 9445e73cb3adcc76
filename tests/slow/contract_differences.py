"""Compare the pixels of contracts with those of torchvision, timm, OpenCV, Keras and TensorFlow, on real photos of mixed sizes.

    python tests/slow/contract_differences.py DATA/test [--photos 200] [--line NAME]

The photos are put together to mosaics of up to 3 x 3, of which parts of random size are cut out, so that their pixels are
those of cameras. Every program gets the same decoded photo: JPEG decoders differ by themselves. Prints a row for each line of
tests/photo/frameworks.py; frameworks that are not installed are named and left out. Exit code 1 if a row exceeds its bound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.photo.frameworks import LINES, Line
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import decode, prepare

CELL = 224  # pixels of a mosaic's cell; photos that are larger are cut


@dataclass(frozen=True, slots=True)
class Difference:
    """Of all values of all photos. largest, mean: in steps of uint8. share: of values that differ after rounding."""

    largest: float
    mean: float
    share: float


def mixed_photos(folder: Path, count: int) -> Iterator[Image.Image]:
    """Yield `count` images of 40 to 672 pixels a side, made of the photos in a folder; always the same ones."""
    random = np.random.default_rng(0)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not paths:
        raise SystemExit(f"{folder}: no photos; expected the test photos of a data set")
    for _ in range(count):
        columns, rows = random.integers(1, 4, 2)
        mosaic = Image.new("RGB", (CELL * int(columns), CELL * int(rows)))
        for place in range(int(columns * rows)):
            photo = decode(paths[random.integers(len(paths))])
            mosaic.paste(photo, (place % int(columns) * CELL, place // int(columns) * CELL))
        width, height = (int(random.integers(40, side + 1)) for side in mosaic.size)
        left, top = int(random.integers(mosaic.width - width + 1)), int(random.integers(mosaic.height - height + 1))
        yield mosaic.crop((left, top, left + width, top + height))


def compare(line: Line, photos: list[Image.Image]) -> Difference:
    """Return how the pixels of the line and of its contract differ."""
    differences = [
        np.abs(line.prepare(photo) - prepare(photo, line.contract).astype(float))
        for photo in photos
        if line.covers(photo)
    ]
    values = np.concatenate([difference.ravel() for difference in differences])
    return Difference(float(values.max()), float(values.mean()), float((values > 0.5).mean()))


def contract_text(contract: Contract) -> str:
    """Return the fields that are not the defaults, without mean and std."""
    default = Contract()
    names = [field.name for field in fields(contract) if field.name not in ("mean", "std")]
    values = {name: getattr(contract, name) for name in names}
    changed = {name: value for name, value in values.items() if value != getattr(default, name)}
    return ", ".join(f"{name} {value}" for name, value in changed.items())


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos_folder", metavar="DATA/test", type=Path)
    parser.add_argument("--photos", type=int, default=200, help="Number of images (default: 200).")
    parser.add_argument("--line", choices=[line.name for line in LINES], help="Compare this line alone.")
    arguments = parser.parse_args()
    lines = [line for line in LINES if arguments.line in (None, line.name)]
    photos = list(mixed_photos(arguments.photos_folder, arguments.photos))
    too_large = []
    sys.stdout.write(
        "| line | code | contract | largest difference | mean | values that differ |\n|---|---|---|---|---|---|\n"
    )
    for line in lines:
        if not line.is_installed:
            sys.stderr.write(f"{line.name}: {line.module} is not installed\n")
            continue
        difference = compare(line, photos)
        too_large += [line.name] if difference.largest > line.largest else []
        sys.stdout.write(
            f"| {line.name} | `{line.code}` | {contract_text(line.contract)} | {difference.largest:.2f} "
            f"| {difference.mean:.3f} | {difference.share:.2%} |\n"
        )
    if too_large:
        sys.stderr.write(f"larger than rounding: {', '.join(too_large)}\n")
    return 1 if too_large else 0


if __name__ == "__main__":
    sys.exit(main())
