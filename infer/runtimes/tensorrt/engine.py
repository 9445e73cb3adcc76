"""TensorRT engines on an NVIDIA GPU. Not yet run on hardware: see README, What has not been run.

Only names that TensorRT 10.3 to 11.x share are used. A runner has two lanes, each a stream with buffers of its own for the
profile's largest batch: while one computes, the other's images are copied. All memory is made once, when the runner is.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import Artifact
from vegrt.errors import BundleError, EngineError, require
from vegrt.infer.machine.gpu import probe_gpus
from vegrt.infer.runtimes.cuda.runtime import Cuda
from vegrt.infer.runtimes.fingerprint import Fingerprint, mismatches
from vegrt.infer.runtimes.lanes import in_turn
from vegrt.infer.runtimes.runner import Answers, RuntimeName

LANES = 2
GRAPHS = 4  # per lane: each keeps an execution context, whose scratch memory is as large as the network needs


class TensorRtRunner:
    """One deserialized engine. Not thread-safe. `close` frees its GPU memory; so does the garbage collector."""

    runtime: RuntimeName = "tensorrt"
    device = "cuda"

    def __init__(self, engine: Any, cuda: Cuda, num_classes: int) -> None:
        _, _, largest = engine.get_tensor_profile_shape("images", 0)
        self._shape = tuple(int(number) for number in largest)  # (largest batch, H, W, 3)
        self._num_classes = num_classes
        self._lanes: list[_Lane] = []
        self._release = weakref.finalize(self, _release, cuda, self._lanes)  # also when a lane below cannot be made
        for _ in range(LANES):
            self._lanes.append(_Lane(engine, cuda, self._shape, num_classes))

    def answers(self, images: NDArray[np.uint8]) -> Answers:
        """Return logits; an engine gives no embeddings."""
        return Answers(self.logits(images))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits for (N, H, W, 3) uint8 RGB images; any N, in parts of the largest batch.

        Raises EngineError for pixels of another size than the engine's, and for whatever CUDA or TensorRT reports.
        """
        if images.shape[1:] != self._shape[1:]:
            raise EngineError(f"engine: images of shape {images.shape[1:]} refused; expected {self._shape[1:]}")
        if not self._lanes:
            raise EngineError("engine: the runner was closed; open it again")
        result = np.empty((len(images), self._num_classes), np.float32)

        def begin(lane: int, part: slice) -> None:
            self._lanes[lane].begin(images[part])

        def finish(lane: int, part: slice) -> None:
            result[part] = self._lanes[lane].finish(part.stop - part.start)

        try:
            in_turn(len(images), self._shape[0], LANES, begin, finish)
        except EngineError:
            _settle(self._lanes)  # what is on its way still reads and writes the buffers that the next call fills
            raise
        return result

    def close(self) -> None:
        """Free the GPU memory. May be called again; the runner cannot be used afterwards."""
        self._release()


class _Lane:
    """A stream, its buffers, an execution context for any batch size, and a CUDA graph for each size that came twice."""

    def __init__(self, engine: Any, cuda: Cuda, shape: tuple[int, ...], num_classes: int) -> None:
        self._engine = engine
        self._cuda = cuda
        self.stream = cuda.stream()
        self._images: NDArray[np.uint8] = cuda.pinned(shape, np.uint8)
        self._logits: NDArray[np.float32] = cuda.pinned((shape[0], num_classes), np.float32)
        self._input = cuda.device_buffer(self._images.nbytes)
        self._output = cuda.device_buffer(self._logits.nbytes)
        self._any_size = self._context()
        self._sizes: set[int] = set()
        self._graphs: dict[
            int, tuple[Any, Any]
        ] = {}  # batch size -> graph, None where there can be none, and its context

    def begin(self, images: NDArray[np.uint8]) -> None:
        """Begin to compute the logits of at most the largest batch. The images are copied before this returns."""
        count = len(images)
        self._images[:count] = images
        graph = self._graph(count)
        if graph is not None:
            self._cuda.launch(graph, self.stream)
            return
        self._set_shape(self._any_size, count)
        self._enqueue(self._any_size, count)

    def finish(self, count: int) -> NDArray[np.float32]:
        """Return the (N, K) logits of what was begun, N = count, in a buffer that the next `begin` overwrites."""
        self._cuda.wait(self.stream)
        return self._logits[:count]

    def settle(self) -> None:
        """Wait for all running work, and ignore its failure."""
        try:
            self._cuda.wait(self.stream)
        except EngineError:
            return

    def forget(self) -> None:
        """Drop what belongs to TensorRT, before the buffers go that it has the addresses of."""
        self._graphs.clear()
        self._any_size = self._engine = None

    def _graph(self, count: int) -> Any | None:
        """Return the graph of a batch size, captured when the size comes for the second time: the last batch seldom does.

        Each graph has a context of its own, because one becomes undefined when its context gets another shape (TensorRT's
        guide on CUDA graphs).
        """
        if count in self._graphs:
            return self._graphs[count][0]
        if count not in self._sizes or len(self._graphs) == GRAPHS:
            self._sizes.add(count)
            return None
        context = self._context()
        self._set_shape(context, count)
        self._enqueue(
            context, count
        )  # TensorRT puts off work to the first run, which must not become part of the graph
        self._cuda.wait(self.stream)
        graph = self._cuda.capture(self.stream, partial(self._enqueue, context, count))
        self._graphs[count] = (graph, context)
        return graph

    def _enqueue(self, context: Any, count: int) -> None:
        self._cuda.upload(self._input, self._images[:count], self.stream)
        if not context.execute_async_v3(int(self.stream)):
            raise EngineError("engine: execution failed; the reason is in TensorRT's log above")
        self._cuda.download(self._logits[:count], self._output, self.stream)

    def _context(self) -> Any:
        context = self._engine.create_execution_context()
        if context is None:
            raise EngineError(
                "engine: no execution context, most often for lack of GPU memory; see TensorRT's log above"
            )
        for name, address in (("images", self._input), ("logits", self._output)):
            if not context.set_tensor_address(name, address):
                raise EngineError(f"engine: has no tensor {name!r}; rebuild it from this bundle's ONNX model")
        return context

    def _set_shape(self, context: Any, count: int) -> None:
        if not context.set_input_shape("images", (count, *self._images.shape[1:])):
            raise EngineError(f"engine: a batch of {count} refused; rebuild it with a profile that begins at 1")


def _settle(lanes: Sequence[_Lane]) -> None:
    for lane in lanes:
        lane.settle()


def _release(cuda: Cuda, lanes: list[_Lane]) -> None:
    _settle(lanes)
    for lane in lanes:
        lane.forget()
    lanes.clear()
    cuda.close()


def open_tensorrt(bundle: Bundle, variant: str) -> TensorRtRunner:
    """Return a runner for the bundle's engine of `variant` that was built by this TensorRT for this GPU.

    Raises EngineError when there is no GPU, when no engine fits it, or when TensorRT refuses the plan.
    """
    here = local_fingerprint()
    trt = require("tensorrt", "tensorrt")
    cuda = Cuda(require("cuda.bindings.runtime", "tensorrt"))
    artifact = fitting_engine(bundle, variant, here)
    runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
    engine = runtime.deserialize_cuda_engine(bundle.path_of(artifact.path).read_bytes())
    if engine is None:
        raise EngineError(f"{artifact.path}: TensorRT {trt.__version__} refuses it; {_rebuild(bundle)}")
    classes = len(bundle.manifest.classes)
    if (scores := int(engine.get_tensor_shape("logits")[-1])) != classes:
        raise EngineError(
            f"{artifact.path}: gives {scores} logits, the bundle has {classes} classes; {_rebuild(bundle)}"
        )
    return TensorRtRunner(engine, cuda, classes)


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
    engines = [item for item in bundle.manifest.artifacts if (item.role, item.variant) == ("engine", variant)]
    engines = [engine for engine in engines if engine.details.get("builder") == here.builder]
    if not engines:
        raise BundleError(f"{bundle.path}: holds no {variant} {here.builder} engine; {_rebuild(bundle)}")
    pairs = [(mismatches(Fingerprint.from_details(engine.details), here), engine) for engine in engines]
    problems, nearest = min(pairs, key=lambda pair: len(pair[0]))
    if problems:
        raise EngineError(f"{nearest.path}: {'; '.join(problems)}; {_rebuild(bundle)}")
    return nearest


def _rebuild(bundle: Bundle) -> str:
    return f"build it: vegrt export {bundle.path} --data DATA --engine, or vegrt infer --rebuild"
