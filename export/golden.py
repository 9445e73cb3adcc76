"""Golden images: a few photos with their decoded pixels' hash and fp32 logits, so that a device can check itself."""

from __future__ import annotations

import hashlib
import shutil
from typing import Any

from vegrt.bundle.change import Staging
from vegrt.dataset.photos import Photo
from vegrt.files.atomic import write_json
from vegrt.infer.runtimes.runner import Runner
from vegrt.photo.preprocess import Contract, load_image

GOLDEN_PHOTOS = 4


def add_golden(staging: Staging, photos: list[Photo], contract: Contract, reference: Runner) -> None:
    """Stage the first photos with what this machine sees in them: golden/golden.json and copies of the files."""
    entries: list[dict[str, Any]] = []
    for index, photo in enumerate(photos[:GOLDEN_PHOTOS]):
        name = f"golden/{index}{photo.path.suffix.lower()}"
        shutil.copyfile(photo.path, staging.file(name))
        staging.add(name, "golden")
        pixels = load_image(photo.path, contract)
        logits = reference.logits(pixels[None])[0]
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        entries.append({"file": name, "label": photo.label, "pixels_sha256": digest, "logits": logits.tolist()})
    write_json(staging.file("golden/golden.json"), {"images": entries})
    staging.add("golden/golden.json", "golden")
