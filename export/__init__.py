"""From a checkpoint to artifacts: ONNX, FP16, INT8, engines with their layer audit."""
