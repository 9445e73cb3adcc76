"""From a checkpoint to artifacts: ONNX, FP16, INT8, engines with their layer audit."""

from vegrt.callable_stage import make_callable

make_callable(__name__, "vegrt.api.exporting")
