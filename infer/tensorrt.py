"""TensorRT engines on an NVIDIA GPU. Not yet run on hardware: see README, What has not been run.

Only names that TensorRT 10.3 to 11.x share are used. Device buffers are made once, for the profile's largest batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle import Artifact, Bundle
from vegrt.errors import BundleError, EngineError, require
from vegrt.infer.fingerprint import Fingerprint, differences
from vegrt.infer.gpu import probe_gpus
from vegrt.infer.runner import RuntimeName


class TensorRtRunner:
    """One deserialized engine with its execution context, stream and device buffers."""

    runtime: RuntimeName = "tensorrt"
    device = "cuda"

    def __init__(self, engine: Any, cudart: Any, num_classes: int) -> None:
        _, _, largest = engine.get_tensor_profile_shape("images", 0)
        self._engine, self._cudart = engine, cudart
        self._context = engine.create_execution_context()
        self._max_batch, *self._pixels = (int(number) for number in largest)
        self._num_classes = num_classes
        self._stream = _checked(cudart, cudart.cudaStreamCreate())
        self._input = _checked(cudart, cudart.cudaMalloc(int(np.prod(largest))))
        self._output = _checked(cudart, cudart.cudaMalloc(4 * self._max_batch * num_classes))
        self._context.set_tensor_address("images", int(self._input))
        self._context.set_tensor_address("logits", int(self._output))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images; any N, in parts of the largest batch."""
        size = self._max_batch
        parts = [self._run(np.ascontiguousarray(images[i : i + size])) for i in range(0, len(images), size)]
        return np.concatenate(parts)

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        cudart, stream = self._cudart, self._stream
        kinds = cudart.cudaMemcpyKind
        result = np.empty((len(images), self._num_classes), np.float32)
        if not self._context.set_input_shape("images", images.shape):
            raise EngineError(f"engine: input shape {images.shape} refused; expected (N, {self._pixels})")
        to_device, to_host = kinds.cudaMemcpyHostToDevice, kinds.cudaMemcpyDeviceToHost
        _checked(cudart, cudart.cudaMemcpyAsync(self._input, images.ctypes.data, images.nbytes, to_device, stream))
        if not self._context.execute_async_v3(int(stream)):
            raise EngineError("engine: execution failed; the reason is in TensorRT's log above")
        _checked(cudart, cudart.cudaMemcpyAsync(result.ctypes.data, self._output, result.nbytes, to_host, stream))
        _checked(cudart, cudart.cudaStreamSynchronize(stream))
        return result


def open_tensorrt(bundle: Bundle, variant: str) -> TensorRtRunner:
    """Return a runner for the bundle's engine of `variant` that was built by this TensorRT for this GPU.

    Raises EngineError when there is no GPU, when no engine fits it, or when TensorRT refuses the plan.
    """
    here = local_fingerprint()
    trt, cudart = require("tensorrt", "tensorrt"), require("cuda.bindings.runtime", "tensorrt")
    artifact = fitting_engine(bundle, variant, here)
    runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
    engine = runtime.deserialize_cuda_engine((bundle.path / artifact.path).read_bytes())
    if engine is None:
        raise EngineError(f"{artifact.path}: TensorRT {trt.__version__} refuses it; {_rebuild(bundle)}")
    return TensorRtRunner(engine, cudart, len(bundle.manifest.classes))


def local_fingerprint() -> Fingerprint:
    """Return this machine's TensorRT and GPU. Raises EngineError without a GPU, MissingExtraError without TensorRT.

    TensorRT is not imported without a GPU: its Runtime would crash the process at exit.
    """
    probe = probe_gpus()
    if not probe.gpus:
        raise EngineError(f"tensorrt: no usable NVIDIA GPU ({probe.problem}); leave --runtime out to run on the CPU")
    trt, gpu = require("tensorrt", "tensorrt"), probe.gpus[0]
    return Fingerprint("tensorrt", trt.__version__, gpu.target, gpu.name)


def fitting_engine(bundle: Bundle, variant: str, here: Fingerprint) -> Artifact:
    """Return the bundle's engine of `variant` that opens here.

    Raises BundleError when there is none of that builder, EngineError that says how the nearest one differs.
    """
    engines = [one for one in bundle.manifest.artifacts if (one.role, one.variant) == ("engine", variant)]
    engines = [one for one in engines if one.details["builder"] == here.builder]
    if not engines:
        raise BundleError(f"{bundle.path}: no {variant} {here.builder} engine in it; {_rebuild(bundle)}")
    found = [(differences(Fingerprint.from_details(one.details), here), one) for one in engines]
    problems, nearest = min(found, key=lambda pair: len(pair[0]))
    if problems:
        raise EngineError(f"{nearest.path}: {'; '.join(problems)}; {_rebuild(bundle)}")
    return nearest


def _rebuild(bundle: Bundle) -> str:
    return f"build it: vegrt export {bundle.path} --data DATA --engine, or vegrt infer --rebuild"


def _checked(cudart: Any, answer: tuple[Any, ...]) -> Any:
    """Return the value in a CUDA answer (error, value). Raises EngineError for any error."""
    error, *values = answer
    if error != cudart.cudaError_t.cudaSuccess:
        raise EngineError(f"CUDA: {error.name}; see nvidia-smi for what else uses the GPU")
    return values[0] if values else None
