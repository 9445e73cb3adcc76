"""Largest change of logits when the same photos come in other batches, in another order, or twice: for each variant and runtime.

python tests/slow/invariance.py BUNDLE DATA
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import open_bundle
from vegrt.dataset.photos import read_split
from vegrt.infer.decode.pipeline import batches
from vegrt.infer.runtimes.candidates import candidates
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Runner

PHOTOS = 64
BATCHES = (1, 2, 7, 32)


def main(bundle: Path, data: Path) -> None:
    """Print one row of a table for each candidate."""
    opened = open_bundle(bundle)
    split = read_split(data, "test", opened.manifest.classes)
    order = np.random.default_rng(0).permutation(len(split))[:PHOTOS]
    paths = [split.photos[index].path for index in order]
    images = np.concatenate([batch.images for batch in batches(paths, opened.manifest.contract, 32)])
    sys.stdout.write("| candidate | largest difference of a logit | largest logit | other top-1 |\n|---|---|---|---|\n")
    for candidate in candidates(opened):
        apart, largest, changed = compare(open_candidate(opened, candidate), images)
        sys.stdout.write(f"| {candidate} | {apart:.3g} | {largest:.3g} | {changed} |\n")
        sys.stdout.flush()


def compare(runner: Runner, images: NDArray[np.uint8]) -> tuple[float, float, int]:
    """Return the largest difference from the logits in one batch, the largest logit, and how many top-1 differ."""
    whole = runner.logits(images)
    others = [in_batches(runner, images, size) for size in BATCHES]
    others.append(runner.logits(images[::-1].copy())[::-1])
    others += np.split(runner.logits(np.concatenate([images, images])), 2)
    apart = max(float(np.abs(whole - other).max()) for other in others)
    changed = sum(int((whole.argmax(axis=1) != other.argmax(axis=1)).sum()) for other in others)
    return apart, float(np.abs(whole).max()), changed


def in_batches(runner: Runner, images: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Return the logits of images given `size` at a time."""
    return np.concatenate([runner.logits(images[start : start + size]) for start in range(0, len(images), size)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
