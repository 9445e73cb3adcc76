"""ONNX Runtime on the exported fp32.onnx with its default settings: a loop that decodes a batch, then runs it."""

from __future__ import annotations

import time

START = time.perf_counter()

from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from peer import read_job, report, write_answers  # noqa: E402
from PIL import Image  # noqa: E402


def decode(path: Path, resize: int, size: int) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB: shorter side resized, then the centre crop."""
    image = Image.open(path).convert("RGB")
    scale = resize / min(image.size)
    if scale != 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    x, y = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((x, y, x + size, y + size)))


def main() -> None:
    """Classify the photos."""
    job = read_job(__doc__)
    session = onnxruntime.InferenceSession(job.bundle / "fp32.onnx", providers=["CPUExecutionProvider"])
    resize, size = job.contract["resize"], job.contract["size"]
    loaded = time.perf_counter()
    logits = []
    for start in range(0, len(job.photos), job.batch):
        images = np.stack([decode(path, resize, size) for path in job.photos[start : start + job.batch]])
        logits.append(session.run(["logits"], {"images": images})[0])
    labels = write_answers(job, job.photos, np.concatenate(logits))
    seconds = time.perf_counter() - loaded
    report("ONNX Runtime fp32, plain", job, job.photos, labels, load_s=loaded - START, seconds=seconds)


if __name__ == "__main__":
    main()
