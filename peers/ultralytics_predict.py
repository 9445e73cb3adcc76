"""ultralytics' predict on the exported fp32.onnx, which it cannot run if it passes floats to the uint8 input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from peer import Job, Peer, run_peer, write_answers


class UltralyticsPeer(Peer):
    """ultralytics' own loop over files."""

    name = "ultralytics predict, ONNX fp32"

    def __init__(self, job: Job) -> None:
        from ultralytics import YOLO

        super().__init__(job)
        self.model = YOLO(job.bundle / "fp32.onnx", task="classify")
        self.model.predict(job.photos[0], imgsz=job.contract["size"], verbose=False)  # loads the file

    def files_to_csv(self, paths: Sequence[Path], size: int, out: Path) -> None:
        side = self.job.contract["size"]
        results = self.model.predict(list(paths), imgsz=side, batch=size, stream=True, verbose=False)
        probabilities = np.stack([result.probs.data.numpy() for result in results])
        write_answers(out, self.job.classes, paths, np.log(probabilities + 1e-12))


if __name__ == "__main__":
    run_peer(fp32=UltralyticsPeer)
