"""The runners on an NVIDIA GPU. Run by `make gpu-check`, where a missing GPU is a failure and not a skip."""

from __future__ import annotations

import ctypes
import logging
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.cuda import cudart_ctypes
from vegrt.infer.runtimes.cuda.runtime import Cuda, load_cudart
from vegrt.infer.runtimes.onnxruntime.providers import TensorRtProvider
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.overlap import answered
from vegrt.infer.runtimes.runner import BundleRunner, OverlappingRunner
from vegrt.infer.runtimes.tensorrt.engine import fitting_engine, local_fingerprint, open_tensorrt, read_plan
from vegrt.infer.runtimes.tensorrt.logger import tensorrt_logger
from vegrt.infer.runtimes.tensorrt.runner import LANES
from vegrt.photo.preprocess import load_image

pytestmark = pytest.mark.gpu

OVERLAPPING = [
    Candidate("fp16", "tensorrt"),
    Candidate("int8", "tensorrt"),
    Candidate("fp32", "onnxruntime"),
    Candidate("int8", "onnxruntime-tensorrt"),
]


@pytest.fixture(scope="module")
def images(bundle: Bundle, test_split: Split) -> NDArray[np.uint8]:
    """60 images: more than an engine's largest batch."""
    return np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])


@pytest.mark.parametrize("candidate", OVERLAPPING, ids=str)
def test_batches_that_overlap_get_the_answers_of_single_calls(
    bundle: Bundle, images: NDArray[np.uint8], candidate: Candidate
) -> None:
    runner = open_candidate(bundle, candidate, device="cuda")
    assert isinstance(runner, OverlappingRunner)
    buffer = np.empty_like(images[:16])

    def images_of(start: int) -> NDArray[np.uint8]:
        buffer[:] = images[start : start + 16]
        return buffer

    starts = [0, 16, 32, 44] * 8
    want = {start: runner.logits(images[start : start + 16]) for start in set(starts)}
    for start, answers in answered(runner, iter(starts), images_of, lambda: True):
        assert answers is not None
        assert np.abs(answers.logits - want[start]).max() < 0.05


def test_graphs_are_captured_on_this_gpu(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    runner = open_tensorrt(bundle, "fp16")
    for batch in (1, 16, 33):
        runner.prepare(batch)
    assert "without a CUDA graph" not in caplog.text


def test_engines_share_their_scratch_memory(bundle: Bundle, images: NDArray[np.uint8]) -> None:
    """Eight graphs more must cost less than eight times the engine's scratch memory."""
    import tensorrt

    runner = open_tensorrt(bundle, "fp16")
    runner.prepare(32)
    before = _free_bytes()
    for batch in range(1, 9):
        runner.prepare(batch)
    spent = before - _free_bytes()
    artifact = fitting_engine(bundle, "fp16", local_fingerprint())
    runtime = tensorrt.Runtime(tensorrt_logger(tensorrt, logging.getLogger(__name__)))
    engine = runtime.deserialize_cuda_engine(read_plan(bundle, artifact))
    sys.stderr.write(
        f"\n16 graphs: {spent >> 20} MiB; scratch of one context: {engine.device_memory_size_v2 >> 20} MiB\n"
    )
    assert spent < 8 * LANES * max(engine.device_memory_size_v2, 4 << 20)
    runner.close()


def _free_bytes() -> int:
    return int(import_module("cuda.bindings.runtime").cudaMemGetInfo()[1])


@pytest.mark.parametrize("name", ["cuda.bindings.runtime", "vegrt.infer.runtimes.cuda.cudart_ctypes"])
def test_a_capture_and_a_copy_work_with_either_binding(name: str) -> None:
    binding: ModuleType = import_module(name)
    if binding is cudart_ctypes and not cudart_ctypes.is_present():
        pytest.skip("no libcudart on this system")
    cuda = Cuda(binding)
    stream, host = cuda.stream(), cuda.pinned((256,), np.uint8)
    device = cuda.device_buffer(256)
    host[:] = np.arange(256)

    def there_and_back() -> None:
        cuda.upload(device, host, stream)
        cuda.download(host, device, stream)

    graph = cuda.capture(stream, there_and_back)
    cuda.launch(graph, stream)
    cuda.wait(stream)
    assert host.tolist() == list(range(256))
    cuda.destroy_graph(graph)
    cuda.close()


def test_a_capture_is_not_disturbed_by_the_legacy_stream() -> None:
    """What torch and others do beside us: a copy on the legacy stream while a lane's stream captures."""
    cudart = load_cudart()
    cuda = Cuda(cudart)
    stream, host, device = cuda.stream(), cuda.pinned((16,), np.uint8), cuda.device_buffer(16)

    def work() -> None:
        cuda.upload(device, host, stream)
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        cuda.check(cudart.cudaMemcpyAsync(device, host.ctypes.data, 16, kind, 0))

    cuda.destroy_graph(cuda.capture(stream, work))
    cuda.close()


LOADING = """
import sys
from pathlib import Path
from vegrt.bundle.bundle import open_bundle
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.onnxruntime.providers import TensorRtProvider
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.open import open_candidate
import numpy as np
runner = open_candidate(open_bundle(Path(sys.argv[1])), Candidate(sys.argv[2], sys.argv[3]), device="cuda")
size = int(sys.argv[4])
runner.logits(np.zeros((2, size, size, 3), np.uint8))
"""


@pytest.mark.parametrize("candidate", OVERLAPPING, ids=str)
def test_a_fresh_process_finds_all_libraries_and_prints_nothing(bundle: Bundle, candidate: Candidate) -> None:
    """Without torch, which would load CUDA's libraries for ONNX Runtime."""
    size = str(bundle.manifest.contract.size)
    words = [sys.executable, "-c", LOADING, str(bundle.path), candidate.variant, candidate.runtime, size]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_provider_that_is_loaded_has_a_library_that_loads(bundle: Bundle) -> None:
    """The order matters: before a session was made, loading it crashes the process."""
    open_candidate(bundle, Candidate("fp32", "onnxruntime"), device="cuda")
    file = Path(onnxruntime.__file__).parent / "capi/libonnxruntime_providers_cuda.so"
    assert ctypes.CDLL(str(file))


def test_fp32_on_cuda_is_float32(bundle: Bundle, images: NDArray[np.uint8]) -> None:
    """TF32 would differ in the third digit."""
    want = open_candidate(bundle, Candidate("fp32", "onnxruntime")).logits(images)
    logits = open_candidate(bundle, Candidate("fp32", "onnxruntime"), device="cuda").logits(images)
    np.testing.assert_allclose(logits, want, rtol=1e-3, atol=1e-3)


def test_int8_with_a_float32_rest_runs_on_the_tensorrt_provider(
    bundle: Bundle, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    """The bundle's int8 has a float16 rest; this one is quantized with a float32 rest, as imported models may be."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Photos(CalibrationDataReader):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            self.rows = iter(images[:16])

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            row = next(self.rows, None)
            return None if row is None else {"images": row[None]}

    file, settings = tmp_path / "int8.onnx", {"ActivationSymmetric": True, "WeightSymmetric": True}
    settings |= {"QuantizeBias": False}
    quantize_static(
        str(bundle.file("model", "fp32")),
        str(file),
        Photos(),
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        extra_options=settings,
    )
    runner = _on_tensorrt(file, bundle, tmp_path)
    want = open_candidate(bundle, Candidate("fp32", "onnxruntime")).logits(images)
    assert (runner(images).argmax(axis=1) == want.argmax(axis=1)).mean() >= 0.9


def _on_tensorrt(file: Path, bundle: Bundle, cache: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    provider = TensorRtProvider(bundle.manifest.contract.shape, True, cache / "cache")
    runner: BundleRunner = open_onnxruntime(file, tensorrt=provider)
    return runner.logits


def test_the_tensorrt_provider_keeps_its_engine_and_its_timings(bundle: Bundle, tmp_path: Path) -> None:
    logits = _on_tensorrt(bundle.file("model", "fp16"), bundle, tmp_path)
    logits(np.zeros((1, *bundle.manifest.contract.shape), np.uint8))
    suffixes = {file.suffix for file in (tmp_path / "cache").iterdir()}
    assert {".engine", ".timing"} <= suffixes
