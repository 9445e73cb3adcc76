"""ONNX Runtime: sessions on the CPU, on CUDA and with the TensorRT provider, as runners."""
