"""MNN on the CPU: runs models/fp32.mnn, or what MNN's converter made of an .onnx file. `pip install MNN`."""

from __future__ import annotations

from typing import Any, Callable

import MNN.expr
import MNN.nn
import numpy as np


def open_model(file: str) -> Callable[[Any], Any]:
    """Return a function that maps the input of one photo to its logits."""
    manager = MNN.nn.create_runtime_manager(({"backend": "CPU", "precision": "high"},))
    module = MNN.nn.load_module_from_file(file, ["images"], ["logits"], runtime_manager=manager, shape_mutable=True)

    def answer(inputs: Any) -> Any:
        kind = MNN.expr.uint8 if inputs.dtype == np.uint8 else MNN.expr.float
        # MNN takes an ONNX graph's input dimensions as they are and calls them NCHW, whatever their order
        tensor = MNN.expr.placeholder(list(inputs.shape), MNN.expr.NCHW, kind)
        tensor.write(np.ascontiguousarray(inputs))
        return np.array(module.forward([tensor])[0].read())

    return answer
