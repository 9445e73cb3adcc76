"""From ONNX models to TensorRT engines with their layer audit."""
