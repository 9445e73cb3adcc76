"""Classifies images: the program that `vegrt deploy jetson` writes beside the models, as classify.py.

    python3 classify.py MODEL --check           compare this device's answers to the golden photos with those of the bundle
    python3 classify.py MODEL IMAGE...          print one line per image: path, class, probability

MODEL is int8.engine or fp16.engine, built by trtexec, or one of the .onnx files, which ONNX Runtime runs on the CPU. The folder
vegrt/ beside this file contains the parts of vegrt that the program needs, unchanged: pixels are prepared as in training.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import EngineError, VegrtError
from vegrt.infer.runtimes.cuda import cudart_ctypes
from vegrt.infer.runtimes.cuda.runtime import Cuda
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.runner import Runner
from vegrt.infer.runtimes.tensorrt.runner import load_engine
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image
from vegrt.results.golden import GoldenFile
from vegrt.schema import build, read_json

HERE = Path(__file__).parent
MIN_COSINE = 0.9  # with the fp32 logits; the limit of `vegrt verify` for int8


@dataclass(frozen=True, slots=True)
class _ModelFile:
    """The schema of model.json."""

    classes: tuple[str, ...]
    contract: dict[str, Any]


def main(words: list[str]) -> int:
    """Run the program and return its exit code: 0 for success, 1 for an error or a failed check."""
    parser = argparse.ArgumentParser(description="Classify images with an engine or an ONNX model.")
    parser.add_argument("model", type=Path, help="one of the .engine and .onnx files")
    parser.add_argument("images", type=Path, nargs="*", help="images to classify")
    parser.add_argument(
        "--check", action="store_true", help="compare the answers to the golden photos with the bundle's"
    )
    options = parser.parse_args(words)
    try:
        model_file = build(_ModelFile, read_json(HERE / "model.json"))
        contract, classes = Contract.from_dict(model_file.contract), model_file.classes
        runner = open_model(options.model, len(classes))
        return check(runner, contract) if options.check else classify(runner, options.images, contract, classes)
    except (VegrtError, OSError) as error:
        sys.stderr.write(f"classify: {error}\n")
        return 1


def open_model(file: Path, num_classes: int) -> Runner:
    """Return the runner of an .onnx file, on the CPU, or of an engine, on the GPU."""
    if not file.is_file():
        raise VegrtError(f"{file}: no such file; README.md shows how to build engines with trtexec")
    if file.suffix == ".onnx":
        return open_onnxruntime(file, float16=True, classes=num_classes)
    return open_engine(file, num_classes)


def open_engine(file: Path, num_classes: int) -> Runner:
    """Return the runner of an engine. CUDA's runtime is the system's, called by ctypes. Raises EngineError in one line."""
    cpu = "an .onnx file runs without, on the CPU"
    if not cudart_ctypes.is_present():
        raise EngineError(
            f"{file}: libcudart is not here, it is part of JetPack: sudo apt-get install nvidia-jetpack; {cpu}"
        )
    error, count = cudart_ctypes.cudaGetDeviceCount()
    if error or not count:  # TensorRT's Runtime would crash the process at exit: never construct it then
        raise EngineError(f"{file}: CUDA finds no GPU ({error.name}); {cpu}")
    try:
        trt = importlib.import_module("tensorrt")
    except ImportError as problem:
        raise EngineError(
            f"{file}: TensorRT is not usable ({problem}); sudo apt-get install python3-libnvinfer, and make the environment "
            "with --system-site-packages"
        ) from problem
    cure = "build it on this device, see README.md"
    return load_engine(trt, Cuda(cudart_ctypes), file.read_bytes(), str(file), num_classes, cure=cure)


def classify(runner: Runner, images: list[Path], contract: Contract, classes: tuple[str, ...]) -> int:
    """Print path, class and probability of each image."""
    for image in images:
        logits = runner.logits(load_image(image, contract)[None])[0]
        exponentials = np.exp(logits - logits.max())
        probability = exponentials.max() / exponentials.sum()
        sys.stdout.write(f"{image}\t{classes[int(logits.argmax())]}\t{probability:.4f}\n")
    return 0


def check(runner: Runner, contract: Contract) -> int:
    """Print, for each golden photo, whether its pixels and logits match the bundle; return 0 if all do, else 1."""
    failed, entries = 0, build(GoldenFile, read_json(HERE / "golden/golden.json")).images
    for entry in entries:
        pixels = load_image(HERE / entry.file, contract)
        same_pixels = hashlib.sha256(pixels.tobytes()).hexdigest() == entry.pixels_sha256
        cosine = _cosine(runner.logits(pixels[None])[0], np.array(entry.logits, np.float32))
        passed = same_pixels and cosine >= MIN_COSINE
        failed += not passed
        pixels_text = "same pixels" if same_pixels else "different pixels (another JPEG decoder)"
        sys.stdout.write(f"{'ok  ' if passed else 'FAIL'} {entry.file}: {pixels_text}, cosine with fp32 {cosine:.5f}\n")
    return 1 if failed else 0


def _cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
