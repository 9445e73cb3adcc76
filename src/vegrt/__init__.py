"""vegrt: image classifiers as ONNX, FP16, INT8 and TensorRT files, with evidence that accuracy survived."""

from __future__ import annotations

__version__ = "0.1.0"
