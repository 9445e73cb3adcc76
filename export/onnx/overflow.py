"""The overflow lint: layers whose results float16 cannot hold, found in float32 on the calibration photos.

Parity on a CPU does not see them: ONNX Runtime has no float16 kernels there and computes in float32 between its casts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.calibration.graph import expose_tensors
from vegrt.errors import ModelError
from vegrt.infer.runtimes.onnxruntime import read_tensors

log = logging.getLogger(__name__)

LARGEST = float(np.finfo(np.float16).max)  # 65504
NEAR = LARGEST / 4  # photos in the field may go beyond those of the calibration


def check_overflow(model: ir.Model, batches: Iterable[NDArray[np.uint8]], names: Sequence[object] = ()) -> float:
    """Return the largest magnitude of any result in a float32 graph over (N, H, W, 3) uint8 batches; warn when it is near.

    names: of the images, for messages. Raises ModelError that names each layer beyond float16 with its value, or the first
    layer whose result is NaN or infinite, which is no matter of float16. Changes `model`: give a copy.
    """
    results = {str(node.outputs[0].name): layer_of(node) for node in model.graph if _is_float(node.outputs[0])}
    peaks, seen = dict.fromkeys(results, 0.0), 0
    read = read_tensors(expose_tensors(model, results), list(results))
    for images in batches:
        for name, values in zip(results, read(images), strict=True):
            peak = float(np.abs(values).max(initial=0))  # NaN where one value is
            if not np.isfinite(peak):
                raise ModelError(_not_finite(name, results[name], values, names[seen : seen + len(images)]))
            peaks[name] = max(peaks[name], peak)
        seen += len(images)
    if beyond := [f"{results[name]} {peak:.4g}" for name, peak in peaks.items() if peak > LARGEST]:
        raise ModelError(
            f"fp16.onnx: {len(beyond)} results exceed float16's {LARGEST:.0f} on the calibration photos: {', '.join(beyond)}; "
            "train with more weight decay or a lower learning rate; nothing was written"
        )
    name, peak = max(peaks.items(), key=lambda pair: pair[1], default=("", 0.0))
    if peak > NEAR:
        log.warning(
            "fp16.onnx: %s reaches %.4g on the calibration photos, float16 ends at %.0f", results[name], peak, LARGEST
        )
    return peak


def _not_finite(name: str, layer: str, values: NDArray[np.float32], photos: Sequence[object]) -> str:
    bad = ~np.isfinite(values)
    rows = bad.reshape(len(values) if values.ndim else 1, -1)
    one_each = len(rows) == len(photos)  # else it does not depend on the image
    photo = photos[int(rows.any(axis=1).argmax())] if one_each else "every photo"
    found = "NaN" if np.isnan(values).any() else "infinity"
    return (
        f"fp32.onnx: {layer} gives {found} (tensor {name}, {int(bad.sum())} of {bad.size} values) for {photo}; the float32 "
        "network itself is broken, whatever the precision: train it again, or look at its weights; nothing was written"
    )


def layer_of(node: ir.Node) -> str:
    """Return the layer that a node belongs to: itself, or the operator behind the last layer with weights before it."""
    source: ir.Node | None = node
    while source is not None and source.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        source = next((value.producer() for value in source.inputs if value is not None and value.producer()), None)
    if source is None or source is node:
        return str(node.name)
    return f"{node.op_type} behind {source.name}"


def _is_float(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT and not value.is_graph_output()
