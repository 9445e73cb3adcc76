"""Settings of the CPU runtimes, images/s from memory: OpenVINO's streams and pinning, ONNX Runtime's spinning, fewer threads.

    python peers/cpu_settings.py BUNDLE [--variant int8-cpu] [--batch 16] [--rounds 5]

The first setting of each runtime is that of `vegrt infer`. spin_ms: CPU time in the 0.2 s after the last answer, when nothing
is to be done. All are interleaved. Prints a JSON line for each setting.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino

from vegrt.bundle.bundle import open_bundle
from vegrt.infer.autobatch import images_per_s
from vegrt.infer.runtimes.onnxruntime.runner import OnnxRuntimeRunner
from vegrt.infer.runtimes.openvino.runner import OpenVinoRunner, StreamsRunner
from vegrt.infer.runtimes.runner import BundleRunner
from vegrt.machine import available_cores, examine_machine

CORES = available_cores()
PAUSE_S = 0.2


def with_openvino(file: Path, core: Any, **settings: Any) -> BundleRunner:
    """Return a runner with these settings of OpenVINO beside vegrt's own."""
    own = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": CORES, "ENABLE_CPU_PINNING": False}
    compiled = core.compile_model(file, "CPU", own | settings)
    return (StreamsRunner if settings.get("PERFORMANCE_HINT") == "THROUGHPUT" else OpenVinoRunner)(compiled)


def with_onnxruntime(file: Path, *, spinning: bool = False, threads: int = CORES) -> BundleRunner:
    """Return a runner with these settings of ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return OnnxRuntimeRunner(
        onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]), device="cpu"
    )


def spin_ms(runner: BundleRunner, images: Any) -> float:
    """Return the milliseconds of CPU time that this process uses after an answer, in PAUSE_S."""
    runner.answers(images)
    before = time.process_time()
    time.sleep(PAUSE_S)
    return (time.process_time() - before) * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--variant", default="int8-cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    file, shape, core = bundle.file("model", arguments.variant), bundle.manifest.contract.shape, openvino.Core()
    half = max(1, CORES // 2)
    settings: dict[str, Callable[[], BundleRunner]] = {
        "openvino, one request": lambda: with_openvino(file, core),
        "openvino, streams": lambda: with_openvino(file, core, PERFORMANCE_HINT="THROUGHPUT"),
        "openvino, one request, pinned": lambda: with_openvino(file, core, ENABLE_CPU_PINNING=True),
        f"openvino, one request, {half} threads": lambda: with_openvino(file, core, INFERENCE_NUM_THREADS=half),
        "onnxruntime": lambda: with_onnxruntime(file),
        "onnxruntime, spinning": lambda: with_onnxruntime(file, spinning=True),
        f"onnxruntime, {half} threads": lambda: with_onnxruntime(file, threads=half),
    }
    runners = {name: make() for name, make in settings.items()}
    images = np.random.default_rng(0).integers(0, 256, (arguments.batch, *shape), np.uint8)
    speeds: dict[str, list[float]] = {name: [] for name in runners}
    spins: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(arguments.rounds):
        for name, runner in runners.items():
            speeds[name].append(images_per_s(runner, images))
            spins[name].append(spin_ms(runner, images))
    for name, runner in runners.items():
        line = {
            "setting": name,
            "cpu": examine_machine().cpu.model,
            "cores": CORES,
            "lanes": getattr(runner, "lanes", 1),
            "images_per_s": round(statistics.median(speeds[name]), 1),
            "lowest": round(min(speeds[name]), 1),
            "highest": round(max(speeds[name]), 1),
            "spin_ms": round(statistics.median(spins[name]), 1),
        }
        sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
