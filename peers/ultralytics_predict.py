"""ultralytics' predict on the exported fp32.onnx; prints the reason if it is not installed or cannot load the file."""

from __future__ import annotations

import time

START = time.perf_counter()

import numpy as np  # noqa: E402
from peer import read_job, report, skip, write_answers  # noqa: E402

NAME = "ultralytics predict, ONNX fp32"


def main() -> None:
    """Classify the photos."""
    job = read_job(__doc__)
    try:
        from ultralytics import YOLO
    except ImportError as error:
        skip(NAME, f"not installed ({error}); pip install ultralytics")
    try:
        model = YOLO(job.bundle / "fp32.onnx", task="classify")
        model.predict(job.photos[0], imgsz=job.contract["size"], verbose=False)  # loads the file
    except Exception as error:
        skip(NAME, f"cannot run the graph with its uint8 (N, H, W, 3) input: {type(error).__name__}: {error}")
    loaded = time.perf_counter()
    size = job.contract["size"]
    results = list(model.predict(list(job.photos), imgsz=size, batch=job.batch, stream=True, verbose=False))
    logits = np.log(np.stack([result.probs.data.numpy() for result in results]) + 1e-12)
    labels = write_answers(job, job.photos, logits)
    seconds = time.perf_counter() - loaded
    report(NAME, job, job.photos, labels, load_s=loaded - START, seconds=seconds)


if __name__ == "__main__":
    main()
