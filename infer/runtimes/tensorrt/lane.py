"""A lane of a TensorRT runner: a CUDA stream, its buffers, and what runs on them. Not yet run on hardware: see docs/gpu.md."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import EngineError
from vegrt.infer.runtimes.cuda.runtime import Cuda
from vegrt.infer.runtimes.tensorrt.graphs import CapturedGraph, GraphCache

log = logging.getLogger(__name__)


class EngineLane:
    """A stream, buffers for the largest batch, an execution context for any batch size, and graphs for sizes that come again.

    All contexts of a lane run on its stream, one after another, and therefore share one scratch memory, as large as the engine's
    largest need. shape: (largest batch, H, W, 3). reason: returns TensorRT's last error.
    """

    def __init__(
        self, trt: Any, engine: Any, cuda: Cuda, shape: tuple[int, ...], num_classes: int, reason: Callable[[], str]
    ) -> None:
        self._trt, self._engine, self._cuda, self._reason = trt, engine, cuda, reason
        self._stream = cuda.stream()
        self._images: NDArray[np.uint8] = cuda.pinned(shape, np.uint8)
        self._logits: NDArray[np.float32] = cuda.pinned((shape[0], num_classes), np.float32)
        self._input = cuda.device_buffer(self._images.nbytes)
        self._output = cuda.device_buffer(self._logits.nbytes)
        self._scratch_bytes = int(engine.device_memory_size_v2)
        self._scratch = cuda.device_buffer(self._scratch_bytes) if self._scratch_bytes else 0
        self._any_size = self._context()
        self._graphs = GraphCache(self._capture, self._destroy)

    def begin(self, images: NDArray[np.uint8]) -> None:
        """Begin to compute the logits of at most the largest batch. The images are copied before this returns."""
        count = len(images)
        self._images[:count] = images
        captured = self._graphs.find(count)
        if captured is not None:
            self._cuda.launch(captured.graph, self._stream)
            return
        self._set_shape(self._any_size, count)
        self._enqueue(self._any_size, count)

    def finish(self, count: int) -> NDArray[np.float32]:
        """Return the (N, K) logits of what was begun, N = count, in a buffer that the next `begin` overwrites."""
        self._cuda.wait(self._stream)
        return self._logits[:count]

    def settle(self) -> None:
        """Wait for all running work, and ignore its failure."""
        try:
            self._cuda.wait(self._stream)
        except EngineError as error:
            log.debug("%s", error)

    def prepare(self, batch: int) -> None:
        """Capture the graph of a batch size. Nothing may be in progress."""
        self._graphs.prepare(batch)

    def forget(self) -> None:
        """Drop what belongs to TensorRT, before the buffers go that it has the addresses of. Nothing may be in progress."""
        self._graphs.clear()
        self._any_size = self._engine = None

    def _capture(self, batch: int) -> CapturedGraph | None:
        """Return the graph of a batch size, with a context of its own; None, logged, where there is no memory for it or no way.

        TensorRT puts off work to the first run of a shape; it must not become part of the graph.
        """
        try:
            context = self._context()
            self._set_shape(context, batch)
            self._enqueue(context, batch)
            self._cuda.wait(self._stream)
            graph = self._cuda.capture(self._stream, partial(self._enqueue, context, batch))
        except EngineError as error:
            self._cuda.forget_error()
            log.warning("batches of %d run without a CUDA graph (%s)", batch, error)
            return None
        return CapturedGraph(graph, context)

    def _destroy(self, captured: CapturedGraph) -> None:
        self._cuda.destroy_graph(captured.graph)

    def _enqueue(self, context: Any, count: int) -> None:
        self._cuda.upload(self._input, self._images[:count], self._stream)
        if not context.execute_async_v3(self._cuda.handle(self._stream)):
            raise EngineError(f"engine: TensorRT cannot run it ({self._reason()}); see: vegrt doctor")
        self._cuda.download(self._logits[:count], self._output, self._stream)

    def _context(self) -> Any:
        context = self._engine.create_execution_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise EngineError(
                f"engine: no execution context, most often for lack of GPU memory ({self._reason()}); see nvidia-smi"
            )
        context.set_device_memory(self._scratch, self._scratch_bytes)
        for name, address in (("images", self._input), ("logits", self._output)):
            if not context.set_tensor_address(name, address):
                raise EngineError(f"engine: has no tensor {name!r}; rebuild it from this bundle's ONNX model")
        return context

    def _set_shape(self, context: Any, count: int) -> None:
        if not context.set_input_shape("images", (count, *self._images.shape[1:])):
            raise EngineError(
                f"engine: a batch of {count} refused ({self._reason()}); rebuild it with a profile that begins at 1"
            )
