"""Compare the answers to 12-megapixel JPEG files that are decoded at a smaller scale with those to whole decoded ones.

    python tests/slow/draft_decoding.py BUNDLE DATA/test [--count 300]

No real photos of this size are at hand: photos are enlarged to 4000 x 3000 pixels, and get fine texture and the noise of a
sensor, so that whole decoding has detail to average that a smaller scale never sees. Prints how the pixels and the answers
of fp32 differ, and the two decoding times. Exit code 1 if an answer differs.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vegrt.bundle.bundle import open_bundle
from vegrt.dataset.photos import image_files
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.photo.preprocess import decode, decode_for, prepare

SIZE = (4000, 3000)
TEXTURE, NOISE = 12.0, 8.0  # standard deviations in steps of uint8
BATCH = 10


def camera_photo(photo: Image.Image, random: np.random.Generator) -> bytes:
    """Return a JPEG file of SIZE that shows the photo, with texture of 2 and 4 pixels and noise of single pixels."""
    pixels = np.asarray(photo.resize(SIZE, Image.Resampling.LANCZOS), np.float32)
    width, height = SIZE
    for grain in (2, 4):
        texture = random.standard_normal((height // grain, width // grain, 1), np.float32) * TEXTURE
        pixels = pixels + texture.repeat(grain, axis=0).repeat(grain, axis=1)
    pixels += random.standard_normal(pixels.shape, np.float32) * NOISE
    data = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(data, "JPEG", quality=92)
    return data.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=300)
    arguments = parser.parse_args()
    bundle, random = open_bundle(arguments.bundle), np.random.default_rng(0)
    contract, network = bundle.manifest.contract, open_onnxruntime(bundle.file("model", "fp32"))
    paths = image_files(arguments.photos)
    paths = [paths[index] for index in random.choice(len(paths), min(arguments.count, len(paths)), replace=False)]
    changed, logit, largest, means, seconds = 0, 0.0, 0, list[float](), np.zeros(2)
    for start in range(0, len(paths), BATCH):
        whole, scaled = list[NDArray[np.uint8]](), list[NDArray[np.uint8]]()
        for path in paths[start : start + BATCH]:
            data = camera_photo(decode(path), random)
            began = time.perf_counter()
            whole.append(prepare(decode(data), contract))
            between = time.perf_counter()
            scaled.append(prepare(decode_for(data, contract), contract))
            seconds += between - began, time.perf_counter() - between
        steps = np.abs(np.stack(whole).astype(int) - np.stack(scaled))
        want, got = network.logits(np.stack(whole)), network.logits(np.stack(scaled))
        changed += int((want.argmax(axis=1) != got.argmax(axis=1)).sum())
        logit, largest = max(logit, float(np.abs(want - got).max())), max(largest, int(steps.max()))
        means.append(float(steps.mean()))
    say(f"photos {len(paths)}, changed answers {changed}, largest logit difference {logit:.3f}")
    say(f"pixels differ by at most {largest} steps of uint8, {np.mean(means):.3f} on average")
    whole_ms, scaled_ms = seconds / len(paths) * 1000
    say(f"decode and prepare: whole {whole_ms:.0f} ms, at a smaller scale {scaled_ms:.0f} ms")
    return int(changed > 0)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
