"""ncnn in float32, converted by pnnx: Pillow decodes, ncnn normalizes and computes.

ncnn has no batches. Here a batch of 1 is one photo at a time on all cores, a larger one as many side by side as there are cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peer import Job, Peer, run_peer


class NcnnPeer(Peer):
    """A net of ncnn with its default kernels (Winograd, sgemm, packing)."""

    name = "ncnn fp32"

    def __init__(self, job: Job) -> None:
        import ncnn

        super().__init__(job)
        self.ncnn = ncnn
        self.mean, self.scale = (values.tolist() for values in job.normalization())
        self.net = lru_cache(maxsize=2)(self.load)
        self.net(1)

    @classmethod
    def prepare(cls, job: Job) -> None:
        import ncnn  # noqa: F401
        import pnnx  # noqa: F401

        job.product("ncnn", lambda folder: convert(job, folder))

    def load(self, side_by_side: int) -> Any:
        """Return the net, whose photos each get their share of the cores."""
        net, folder = self.ncnn.Net(), self.job.work / "ncnn"
        net.opt.num_threads = max(1, len(os.sched_getaffinity(0)) // side_by_side)
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
        net.load_param(str(folder / "network.ncnn.param"))
        net.load_model(str(folder / "network.ncnn.bin"))
        return net

    def from_pixels(self, images: NDArray[np.uint8]) -> Any:
        return [self.planes(image) for image in images]

    def planes(self, image: NDArray[np.uint8]) -> Any:
        """Return (3, H, W) float32 in ncnn's type of (H, W, 3) pixels."""
        height, width, _ = image.shape
        planes = self.ncnn.Mat.from_pixels(image, self.ncnn.Mat.PixelType.PIXEL_RGB, width, height)
        planes.substract_mean_normalize(self.mean, self.scale)
        return planes

    def answers(self, batches: Iterable[Any], size: int) -> NDArray[np.float32]:
        net = self.net(size)

        def logits(planes: Any) -> NDArray[np.float32]:
            extractor = net.create_extractor()
            extractor.input("in0", planes)
            return np.array(extractor.extract("out0")[1])

        with ThreadPoolExecutor(min(size, len(os.sched_getaffinity(0)))) as pool:
            return np.stack([row for batch in batches for row in pool.map(logits, batch)])


def convert(job: Job, folder: Path) -> None:
    """Write the network in ncnn's format."""
    from torch_network import network_onnx

    size, source = job.contract["size"], folder / "network.onnx"
    source.write_bytes(network_onnx(job).read_bytes())  # pnnx writes beside its input
    words = [str(source), f"inputshape=[1,3,{size},{size}]", "fp16=0"]
    subprocess.run([sys.executable, "-c", "import pnnx; pnnx.pnnx()", *words], check=True)


if __name__ == "__main__":
    run_peer(fp32=NcnnPeer)
