"""The overflow check: finds layers whose results exceed float16, by a float32 run on the calibration photos.

Parity on a CPU does not show them: ONNX Runtime has no float16 kernels there and computes in float32 between its casts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.calibration.graph.onnx_graph import copy_graph, expose_tensors
from vegrt.calibration.pixels import PhotoSet
from vegrt.calibration.ranges.observe import ChannelPeaks, PeakCheck
from vegrt.errors import ModelError
from vegrt.export.onnx.bounds import magnitude_bounds
from vegrt.infer.runtimes.onnxruntime.session import read_tensors

log = logging.getLogger(__name__)

LARGEST = float(np.finfo(np.float16).max)  # 65504
NEAR = LARGEST / 4  # photos in use may reach larger values than those of the calibration
_BATCH = 16


def check_overflow(
    model: ir.Model, batches: Iterable[NDArray[np.uint8]], names: Sequence[object] = (), *, in_float16: bool = True
) -> float:
    """Return the largest magnitude of any result in a float32 graph over (N, H, W, 3) uint8 batches; warn when it is near 65504.

    names: of the images, for messages. in_float16: False for a network that is never computed in float16: its results may be
    as large as float32 allows. Raises ModelError that names each layer beyond float16 with its value, or the first
    layer whose result is NaN or infinite even in float32. Changes `model`: pass a copy.
    """
    results = _float_results(model)
    peaks, done = dict.fromkeys(results, 0.0), 0
    read = read_tensors(expose_tensors(model, results), list(results))
    for images in batches:
        for name, values in zip(results, read(images), strict=True):
            peak = float(np.abs(values).max(initial=0))  # NaN where one value is
            if not np.isfinite(peak):
                raise ModelError(_not_finite(name, results[name], values, names[done : done + len(images)]))
            peaks[name] = max(peaks[name], peak)
        done += len(images)
    if not in_float16:
        return max(peaks.values(), default=0.0)
    if beyond := [f"{results[name]} {peak:.4g}" for name, peak in peaks.items() if peak > LARGEST]:
        raise ModelError(
            f"fp16.onnx: {len(beyond)} results exceed float16's {LARGEST:.0f} on the calibration photos: {', '.join(beyond)}; "
            "export without float16: --no-fp16, or train with more weight decay or a lower learning rate; nothing was written"
        )
    name, peak = max(peaks.items(), key=lambda pair: pair[1], default=("", 0.0))
    if peak > NEAR:
        log.warning(
            "fp16.onnx: %s reaches %.4g on the calibration photos, the limit of float16 is %.0f",
            results[name],
            peak,
            LARGEST,
        )
    return peak


def check_photos(model: ir.Model, photos: PhotoSet, *, in_float16: bool = True) -> None:
    """Run check_overflow on photos. Does not change `model`."""
    batches = photos.batches(_BATCH, title="Checking the range of float16")
    check_overflow(copy_graph(model), batches, [photo.path for photo in photos.photos], in_float16=in_float16)


def overflow_check(model: ir.Model, photos: PhotoSet, *, in_float16: bool = True) -> PeakCheck:
    """Return the check for an observation of these photos: it runs the graph again only where a result may be near the limit.

    Then it raises and warns as check_overflow. A result that was not observed is judged by its upper bound.
    """
    results, limit = _float_results(model), NEAR if in_float16 else float(np.finfo(np.float32).max)

    def check(peaks: ChannelPeaks) -> None:
        bounds = magnitude_bounds(model, peaks)
        if not all((bounds[name] <= limit).all() for name in results):  # also where one is NaN
            check_photos(model, photos, in_float16=in_float16)

    return check


def _float_results(model: ir.Model) -> dict[str, str]:
    """Return the float results of a graph but its outputs: tensor -> layer."""
    return {str(node.outputs[0].name): layer_of(node) for node in model.graph if _is_float(node.outputs[0])}


def _not_finite(name: str, layer: str, values: NDArray[np.float32], photos: Sequence[object]) -> str:
    bad_values = ~np.isfinite(values)
    rows = bad_values.reshape(len(values) if values.ndim else 1, -1)
    is_per_photo = len(rows) == len(photos)  # else the tensor does not depend on the image
    photo = photos[int(rows.any(axis=1).argmax())] if is_per_photo else "every photo"
    kind = "NaN" if np.isnan(values).any() else "infinity"
    return (
        f"fp32.onnx: {layer} gives {kind} (tensor {name}, {int(bad_values.sum())} of {bad_values.size} values) for {photo}; the "
        "float32 network itself is broken: train it again, or check its weights; nothing was written"
    )


def layer_of(node: ir.Node) -> str:
    """Return the layer that a node belongs to: itself, or its operator and the last layer with weights before it."""
    source: ir.Node | None = node
    while source is not None and source.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        source = next((value.producer() for value in source.inputs if value is not None and value.producer()), None)
    if source is None or source is node:
        return str(node.name)
    return f"{node.op_type} after {source.name}"


def _is_float(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT and not value.is_graph_output()
