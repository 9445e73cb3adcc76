"""Golden photos: a few photos with their pixels' hash and fp32 logits, so that a device can check its own answers."""

from __future__ import annotations

import hashlib
import shutil
from typing import Any

import numpy as np

from vegrt.bundle.change import Staging
from vegrt.calibration.pixels import PhotoSet
from vegrt.evaluate.golden import GoldenPhotos
from vegrt.files.atomic import write_json
from vegrt.infer.runtimes.runner import Runner

GOLDEN_PHOTOS = 4


def add_golden(staging: Staging, photos: PhotoSet, reference: Runner) -> GoldenPhotos:
    """Stage copies of the first photos, and golden/golden.json with this machine's pixels and logits of them; return them."""
    golden = photos.first(GOLDEN_PHOTOS)
    entries: list[dict[str, Any]] = []
    images = list(golden.images())
    for index, (photo, pixels) in enumerate(zip(golden.photos, images, strict=True)):
        name = f"golden/{index}{photo.path.suffix.lower()}"
        shutil.copyfile(photo.path, staging.file(name))
        staging.add(name, "golden")
        logits = reference.logits(pixels[None])[0]
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        entries.append({"file": name, "label": photo.label, "pixels_sha256": digest, "logits": logits.tolist()})
    write_json(staging.file("golden/golden.json"), {"images": entries})
    staging.add("golden/golden.json", "golden")
    logits = np.array([entry["logits"] for entry in entries], np.float32)
    return GoldenPhotos(np.stack(images), logits, len(images))
