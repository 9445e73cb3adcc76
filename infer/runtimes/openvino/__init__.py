"""OpenVINO on the CPU: models compiled from the same ONNX files, as runners."""
