"""Layers of a plan by TensorRT's engine inspector, on a machine with a GPU. Not yet run on hardware: docs/gpu.md."""

from __future__ import annotations

import logging
from types import ModuleType

from vegrt.errors import EngineError
from vegrt.export.engines.accept import INPUT
from vegrt.export.engines.layers import Layer, parse_inspector
from vegrt.infer.runtimes.tensorrt.logger import tensorrt_logger

log = logging.getLogger(__name__)


def inspect_plan(trt: ModuleType, subject: str, plan: bytes, batch: int) -> tuple[Layer, ...]:
    """Return the layers of a plan that was built here just now; none where the inspector lists none in a known form.

    batch: given to an execution context, because without a shape TensorRT 10 says `N/A due to dynamic shapes` of every tensor.
    Raises EngineError, with TensorRT's last error, when TensorRT does not open the plan.
    """
    logger = tensorrt_logger(trt, log)
    runtime = trt.Runtime(logger)
    runtime.engine_host_code_allowed = True  # of a version-compatible plan; it was built by this process
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(
            f"{subject}: {trt.__name__} {trt.__version__} refuses the plan that it built ({logger.reason})"
        )
    inspector = engine.create_engine_inspector()
    if inspector is None:
        log.warning("%s: no engine inspector (%s); the builder's log is audited", subject, logger.reason)
        return ()
    context = engine.create_execution_context()
    _, *pixels = engine.get_tensor_shape(INPUT)
    if context is not None and context.set_input_shape(INPUT, (batch, *pixels)):
        inspector.execution_context = context
    return parse_inspector(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
