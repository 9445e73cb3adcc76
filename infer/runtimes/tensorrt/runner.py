"""A TensorRT engine as a runner. Not yet run on hardware: see docs/gpu.md.

Only names that TensorRT 10.3 to 11.x share are used. A runner has two lanes, each a stream with buffers of its own for the
profile's largest batch, and takes them in turn from call to call: while one computes, the other's images are copied. All memory
but that of CUDA graphs is made once, when the runner is.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import EngineError, RefusedEngineError
from vegrt.infer.runtimes.cuda.runtime import Cuda
from vegrt.infer.runtimes.lanes import Begun, Lanes, parts
from vegrt.infer.runtimes.overlap import LanesRunner
from vegrt.infer.runtimes.runner import RuntimeName
from vegrt.infer.runtimes.tensorrt.lane import EngineLane
from vegrt.infer.runtimes.tensorrt.logger import tensorrt_logger

log = logging.getLogger(__name__)

LANES = 2


class TensorRtRunner(LanesRunner):
    """One deserialized engine. Not thread-safe. `close` frees its GPU memory; so does the garbage collector.

    reason: returns TensorRT's last error.
    """

    runtime: RuntimeName = "tensorrt"
    device = "cuda"
    lanes = LANES

    def __init__(self, trt: Any, engine: Any, cuda: Cuda, num_classes: int, reason: Callable[[], str]) -> None:
        _, _, largest = engine.get_tensor_profile_shape("images", 0)
        self._shape = tuple(int(number) for number in largest)  # (largest batch, H, W, 3)
        self._lanes: list[EngineLane] = []
        self._release = weakref.finalize(self, _release, cuda, self._lanes)  # also when a lane below cannot be made
        for _ in range(LANES):
            self._lanes.append(EngineLane(trt, engine, cuda, self._shape, num_classes, reason))
        self._turns = Lanes(self._lanes, self._shape[0], columns=num_classes)

    def begin(self, images: NDArray[np.uint8]) -> Begun:
        """Begin to compute the logits of (N, H, W, 3) uint8 RGB images; they are copied before this returns.

        Any N, in parts of the largest batch. Raises EngineError for pixels of another size than the engine's, and for whatever
        CUDA or TensorRT reports, about this batch or one before it.
        """
        if images.shape[1:] != self._shape[1:]:
            raise EngineError(f"engine: images of shape {images.shape[1:]} refused; expected {self._shape[1:]}")
        if not self._lanes:
            raise EngineError("engine: the runner was closed; open it again")
        return super().begin(images)

    def prepare(self, batch: int) -> None:
        """Capture the CUDA graphs for batches of this size now, so that none is captured while they are timed."""
        self._turns.settle()
        for size in {part.stop - part.start for part in parts(batch, self._shape[0])}:
            for lane in self._lanes:
                lane.prepare(size)

    def close(self) -> None:
        """Free the GPU memory. May be called again; the runner cannot be used afterwards."""
        self._release()


def _release(cuda: Cuda, lanes: list[EngineLane]) -> None:
    for lane in lanes:
        lane.settle()
    for lane in lanes:
        lane.forget()
    lanes.clear()
    cuda.close()


def load_engine(
    trt: Any, cuda: Cuda, plan: bytes, subject: str, num_classes: int, *, cure: str, runs_host_code: bool = False
) -> TensorRtRunner:
    """Return the runner of a serialized engine.

    trt: the module tensorrt. CUDA must work: without it TensorRT's Runtime crashes the process at exit. cure: what the user
    does about an engine that is refused. runs_host_code: whether the plan may contain code for the CPU that runs, as that of a
    version-compatible engine does; True only for a plan whose hash was checked. Raises RefusedEngineError, in TensorRT's words,
    and EngineError for an engine of another number of classes.
    """
    logger = tensorrt_logger(trt, log)
    runtime = trt.Runtime(logger)
    if runs_host_code:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise RefusedEngineError(f"{subject}: TensorRT {trt.__version__} refuses it ({logger.reason}); {cure}")
    if (scores := int(engine.get_tensor_shape("logits")[-1])) != num_classes:
        raise EngineError(f"{subject}: gives {scores} logits, there are {num_classes} classes; {cure}")
    return TensorRtRunner(trt, engine, cuda, num_classes, lambda: str(logger.reason))
