"""Which contract an ONNX classifier was trained with, by its answers to labelled photos."""
