"""From a checkpoint to ONNX graphs: float32, float16 and bfloat16, each compared with its reference."""
