"""Say what is in each image: the program that `vegrt deploy jetson` puts beside the models, as classify.py.

    python3 classify.py MODEL --check           the golden photos: do this machine's answers fit those of the bundle?
    python3 classify.py MODEL IMAGE...          one line per image: path, class, probability

MODEL is int8.engine or fp16.engine, made by trtexec, or one of the .onnx files, which ONNX Runtime runs on the CPU. The folder
vegrt/ beside this file holds the parts of vegrt that it needs, as they are: pixels are prepared as in training.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import EngineError, VegrtError, require
from vegrt.infer.machine.gpu import probe_gpus
from vegrt.infer.runtimes.cuda import Cuda
from vegrt.infer.runtimes.onnxruntime import open_onnxruntime
from vegrt.infer.runtimes.runner import Runner
from vegrt.infer.runtimes.tensorrt import TensorRtRunner
from vegrt.photo.preprocess import Contract, load_image
from vegrt.results.golden import GoldenFile
from vegrt.schema import build, read_json

HERE = Path(__file__).parent
MIN_COSINE = 0.9  # with the fp32 logits; what `vegrt verify` asks of int8


@dataclass(frozen=True, slots=True)
class _Facts:
    """The schema of model.json."""

    classes: tuple[str, ...]
    contract: dict[str, Any]


def main(words: list[str]) -> int:
    """Run the program and return its exit code: 0 done, 1 an error or a failed check."""
    parser = argparse.ArgumentParser(description="Classify images with an engine or an ONNX model.")
    parser.add_argument("model", type=Path, help="int8.engine, fp16.engine, int8.onnx or fp16.onnx")
    parser.add_argument("images", type=Path, nargs="*", help="image files")
    parser.add_argument("--check", action="store_true", help="check the answers to the golden photos")
    given = parser.parse_args(words)
    try:
        facts = build(_Facts, read_json(HERE / "model.json"))
        contract, classes = Contract.from_dict(facts.contract), facts.classes
        runner = open_model(given.model, len(classes))
        return check(runner, contract) if given.check else classify(runner, given.images, contract, classes)
    except (VegrtError, OSError) as error:
        sys.stderr.write(f"classify: {error}\n")
        return 1


def open_model(file: Path, num_classes: int) -> Runner:
    """Return the runner of an .onnx file, on the CPU, or of an engine, on the GPU."""
    if not file.is_file():
        raise VegrtError(f"{file}: no such file; README.md says how trtexec makes engines")
    if file.suffix == ".onnx":
        return open_onnxruntime(file, float16=True, classes=num_classes)
    probe = probe_gpus()
    if not probe.gpus:  # without CUDA, TensorRT's Runtime crashes the process at exit: never construct it then
        raise EngineError(f"{file}: no usable NVIDIA GPU ({probe.problem}); an .onnx file runs on the CPU")
    trt, cuda = require("tensorrt", "tensorrt"), Cuda(require("cuda.bindings.runtime", "tensorrt"))
    engine = trt.Runtime(trt.Logger(trt.Logger.WARNING)).deserialize_cuda_engine(file.read_bytes())
    if engine is None:
        raise EngineError(f"{file}: TensorRT {trt.__version__} refuses it; build it on this very device, see README.md")
    return TensorRtRunner(engine, cuda, num_classes)


def classify(runner: Runner, images: list[Path], contract: Contract, classes: tuple[str, ...]) -> int:
    """Print path, class and probability of each image."""
    for image in images:
        logits = runner.logits(load_image(image, contract)[None])[0]
        powers = np.exp(logits - logits.max())
        sys.stdout.write(f"{image}\t{classes[int(logits.argmax())]}\t{powers.max() / powers.sum():.4f}\n")
    return 0


def check(runner: Runner, contract: Contract) -> int:
    """Print, for each golden photo, whether its pixels and the answer are those of the bundle."""
    failed, entries = 0, build(GoldenFile, read_json(HERE / "golden/golden.json")).images
    for entry in entries:
        pixels = load_image(HERE / entry.file, contract)
        same = hashlib.sha256(pixels.tobytes()).hexdigest() == entry.pixels_sha256
        cosine = _cosine(runner.logits(pixels[None])[0], np.array(entry.logits, np.float32))
        passed = same and cosine >= MIN_COSINE
        failed += not passed
        seen = "same pixels" if same else "other pixels, of another JPEG decoder"
        sys.stdout.write(f"{'ok  ' if passed else 'FAIL'} {entry.file}: {seen}, cosine with fp32 {cosine:.5f}\n")
    return 1 if failed else 0


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
