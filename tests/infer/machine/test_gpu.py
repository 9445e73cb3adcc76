"""What needs an NVIDIA GPU. `make gpu-check` runs it, in one process, and a missing GPU is a failure there and not a skip."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import EngineError
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.open import open_candidate, open_runner
from vegrt.infer.runtimes.tensorrt.engine import open_tensorrt
from vegrt.photo.preprocess import load_image

pytestmark = pytest.mark.gpu


GPU = [
    Candidate("fp16", "tensorrt"),
    Candidate("int8", "tensorrt"),
    Candidate("fp32", "onnxruntime"),
    Candidate("fp32", "onnxruntime-tensorrt"),
    Candidate("int8", "onnxruntime-tensorrt"),
]


@pytest.fixture(scope="module")
def images(bundle: Bundle, test_split: Split) -> NDArray[np.uint8]:
    """60 images: more than an engine's largest batch."""
    return np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])


@pytest.mark.parametrize("candidate", GPU, ids=str)
def test_gpu_runners_answer_like_the_cpu(bundle: Bundle, images: NDArray[np.uint8], candidate: Candidate) -> None:
    on_cpu = open_candidate(bundle, Candidate("fp32", "onnxruntime")).logits(images)
    on_gpu = open_candidate(bundle, candidate, device="cuda").logits(images)
    assert (on_gpu.argmax(axis=1) == on_cpu.argmax(axis=1)).mean() >= 0.95


def test_an_engine_gives_the_same_with_and_without_graphs_and_for_any_number_of_parts(
    bundle: Bundle, images: NDArray[np.uint8]
) -> None:
    runner = open_candidate(bundle, Candidate("fp16", "tensorrt"))
    many = np.concatenate([images] * 5)
    want = np.concatenate([runner.logits(many[i : i + 1]) for i in range(len(many))])  # from the third on, a graph
    for _ in range(4):  # first call by call, then graphs are captured, then replayed
        for size in (len(many), 7, 33, 64):
            assert np.abs(runner.logits(many[:size]) - want[:size]).max() < 0.05


def test_a_closed_engine_has_given_its_memory_back(bundle: Bundle, images: NDArray[np.uint8]) -> None:
    """CUDA reports the free memory of the whole device: other programs on it change that too, so a leak must show every time."""
    from cuda.bindings import runtime as cudart

    def free_bytes() -> int:
        return int(cudart.cudaMemGetInfo()[1])

    open_tensorrt(bundle, "fp16").close()  # what CUDA and TensorRT load once stays
    lost_bytes = []
    for _ in range(3):
        before = free_bytes()
        for _ in range(5):
            runner = open_tensorrt(bundle, "fp16")
            for _ in range(3):
                runner.logits(images)
            runner.close()
            runner.close()
        lost_bytes.append(before - free_bytes())
    with pytest.raises(EngineError, match="closed"):
        runner.logits(images)
    assert min(lost_bytes) <= 32 << 20


def test_the_gpu_is_taken_where_there_is_one(bundle: Bundle) -> None:
    assert open_runner(bundle).runner.device == "cuda"
