"""MNN in float32, as in its own Python examples: MNN.cv reads and normalizes photos, a module of MNN.nn computes them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peer import Job, Peer, normalized, run_peer

CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"  # its program `mnnconvert` would install other packages


class MnnPeer(Peer):
    """A module of MNN on all cores."""

    name = "MNN fp32"

    def __init__(self, job: Job) -> None:
        import MNN.cv
        from MNN import expr, nn

        super().__init__(job)
        self.cv, self.expr = MNN.cv, expr
        self.mean, self.scale = (values.tolist() for values in job.normalization())
        settings = {"backend": "CPU", "precision": "normal", "numThread": len(os.sched_getaffinity(0))}
        manager = nn.create_runtime_manager((settings,))
        file = str(job.work / "mnn/fp32.mnn")
        self.module = nn.load_module_from_file(file, ["images"], ["logits"], runtime_manager=manager)

    @classmethod
    def prepare(cls, job: Job) -> None:
        import MNN  # noqa: F401

        job.product("mnn", lambda folder: convert(job, folder / "fp32.mnn"))

    def from_files(self, paths: Sequence[Path]) -> Any:
        return self.expr.concat([self.read(path) for path in paths], 0)

    def read(self, path: Path) -> Any:
        """Return a photo as (1, H, W, 3) float32, resized and cropped as the contract says."""
        image, size = self.cv.imread(str(path)), self.job.contract["size"]
        height, width = image.shape[:2]
        scale = self.job.contract["resize"] / min(height, width)
        width, height = round(width * scale), round(height * scale)
        image = self.cv.resize(
            image, (width, height), 0.0, 0.0, self.cv.INTER_LINEAR, self.cv.COLOR_BGR2RGB, self.mean, self.scale
        )
        x, y = (width - size) // 2, (height - size) // 2
        if (width, height) != (size, size):
            image = image[y : y + size, x : x + size]
        return self.expr.reshape(image, [1, size, size, 3])

    def from_pixels(self, images: NDArray[np.uint8]) -> Any:
        planes = normalized(images, self.job)
        tensor = self.expr.placeholder(list(planes.shape), self.expr.NCHW)
        tensor.write(planes)
        return tensor

    def run(self, batch: Any) -> NDArray[np.float32]:
        (logits,) = self.module.forward([self.expr.convert(batch, self.expr.NC4HW4)])
        return np.array(logits.read())  # a copy: MNN reuses its buffer


def convert(job: Job, file: Path) -> None:
    """Write the network in MNN's format."""
    from torch_network import network_onnx

    words = ["-f", "ONNX", "--modelFile", str(network_onnx(job)), "--MNNModel", str(file), "--bizCode", "peer"]
    subprocess.run([sys.executable, "-c", CONVERT, *words], check=True)
    if not file.is_file():
        raise ValueError("MNN's converter wrote no file")


if __name__ == "__main__":
    run_peer(fp32=MnnPeer)
