"""OpenVINO's own benchmark_app, which times the engine alone on random pixels.

It is part of the package openvino; openvino-dev, which had it before, is discontinued. It measures the models of
`openvino_async.py`: float32, or with --kind int8 NNCF's.
"""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
from numpy.typing import NDArray
from openvino_async import Int8Peer, OpenVinoPeer
from peer import Job, Peer, run_peer

APP = "from openvino.tools.benchmark.main import main; main()"


class BenchmarkApp(Peer):
    """The program with its hint for throughput."""

    name = "OpenVINO fp32, benchmark_app"
    measured: type[OpenVinoPeer] = OpenVinoPeer
    options: tuple[str, ...] = ("-infer_precision", "f32")

    def __init__(self, job: Job) -> None:
        import openvino.tools.benchmark  # noqa: F401

        super().__init__(job)

    @classmethod
    def prepare(cls, job: Job) -> None:
        cls.measured.prepare(job)

    def from_memory(self, images: NDArray[np.uint8], size: int) -> tuple[float, NDArray[np.float32] | None]:
        model, side = self.job.work / self.measured.product / "model.xml", images.shape[1]
        shape, times = f"[{size},{side},{side},3]", str(max(2, len(images) // size))
        words = ["-m", str(model), "-d", "CPU", "-hint", "throughput", "-shape", shape, "-niter", times, *self.options]
        done = subprocess.run([sys.executable, "-c", APP, *words], check=True, capture_output=True, text=True)
        rate = re.search(r"Throughput:\s*([\d.]+) FPS", done.stdout)
        if rate is None:
            raise ValueError(f"no throughput in what benchmark_app printed: {done.stdout[-300:]}")
        return len(images) / float(rate[1]), None


class Int8BenchmarkApp(BenchmarkApp):
    """The same with NNCF's 8-bit model."""

    name = "OpenVINO int8, NNCF, benchmark_app"
    measured = Int8Peer
    options = ()


if __name__ == "__main__":
    run_peer(fp32=BenchmarkApp, int8=Int8BenchmarkApp)
