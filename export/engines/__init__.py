"""ONNX to TensorRT engines with their layer audit."""
