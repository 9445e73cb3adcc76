"""Models compiled by OpenVINO for the CPU, kept in the user's cache.

Compiling a file takes OpenVINO longer than everything else until the first answer (decision 0029).
"""

from __future__ import annotations

import io
import logging
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vegrt.errors import VegrtError, require
from vegrt.files.hashing import sha256_of, sha256_of_json
from vegrt.files.user_cache import UserCache, cache_home
from vegrt.infer.runtimes.onnx_file import INTERMEDIATE, InnerTensors
from vegrt.infer.runtimes.runner import library_errors
from vegrt.machine import available_cores, examine_machine

log = logging.getLogger(__name__)

_CHANGES = 2  # to be raised with every other way in which a graph is changed before it is compiled: the cache has those of before
CACHE_BYTES = 2 << 30  # of all compiled models; a ResNet18 takes 11 MB in int8, 45 MB in fp32


def compile_model(
    model: Path | bytes,
    *,
    threads: int = 0,
    inner: InnerTensors | None = None,
    in_float: bool = False,
    precision: str = "",
    throughput: bool = False,
    sha256: str = "",
) -> Any:
    """Return an openvino.CompiledModel. Raises ModelError.

    threads: 0 for all cores that this process may use. inner: inner tensors to give too, of the maps their means.
    in_float: compute what the model quantizes in float arithmetic, as its Q/DQ nodes say, and not by 8-bit kernels.
    precision: f32 or bf16: how float32 is computed; empty: in bfloat16 on a CPU that has such instructions, else in float32.
    throughput: for several requests at once, each by some of the threads, and not for one request on all of them.
    sha256: of the file `model`: the compiled model is taken from the user's cache, or kept there; empty: the cache is not used.
    """
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY",
        "INFERENCE_NUM_THREADS": threads or available_cores(),
        "ENABLE_CPU_PINNING": False,  # decode threads and other processes share the cores; all would pin to the same ones
    }
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = precision
    key = _cache_key(sha256, [settings, asdict(inner) if inner else None, in_float]) if sha256 else ""
    if key and (cached := _from_cache(key, settings)) is not None:
        return cached
    subject = f"{model!s:.200}" if isinstance(model, Path) else "model"
    with library_errors("OpenVINO", subject, "load it"):
        compiled = _compiled(str(model) if isinstance(model, Path) else model, settings, inner, in_float=in_float)
    if key and isinstance(model, Path):
        _keep(key, compiled, model, sha256)
    return compiled


def _compiled(source: str | bytes, settings: dict[str, Any], inner: InnerTensors | None, *, in_float: bool) -> Any:
    graph = _core().read_model(source)
    if inner is not None:
        _add_outputs(graph, inner)
    quantizing = [node for node in graph.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    for node in quantizing:
        if in_float or _is_signed_concat(node):
            _spell_out(node)
    return _core().compile_model(graph, "CPU", settings)


def _add_outputs(graph: Any, inner: InnerTensors) -> None:
    """Let an openvino.Model give its embedding, and the means of its maps over all positions as INTERMEDIATE."""
    graph.add_outputs([inner.embedding])
    if inner.maps:
        ops = require("openvino.opset13", "openvino")
        (output,) = graph.add_outputs([inner.maps])  # the only way to find a tensor by its name
        maps = output.get_node().input_value(0)
        graph.remove_result(output.get_node())
        positions = np.arange(2, maps.get_partial_shape().rank.get_length())
        result = ops.result(ops.reduce_mean(maps, positions))
        result.output(0).set_names({INTERMEDIATE})
        graph.add_results([result])


def _is_signed_concat(node: Any) -> bool:
    """Return whether a FakeQuantize makes signed integers of what a Concat gives.

    OpenVINO (2026.4, CPU plugin) moves it before the Concat and loses its scale: the numbers are rounded to whole ones, and the
    answers are useless (docs/decisions/0003).
    """
    source, low_out = (node.input_value(place).get_node() for place in (0, 3))
    while source.get_type_name() == "Convert":  # from float16
        source = source.input_value(0).get_node()
    if source.get_type_name() != "Concat":
        return False
    return low_out.get_type_name() != "Constant" or bool((low_out.get_data() < 0).any())


def compiled_models() -> UserCache:
    """Return the cache of compiled models. Raises VegrtError without a home folder."""
    return UserCache(cache_home() / "openvino", CACHE_BYTES)


def _cache_key(sha256: str, how: list[Any]) -> str:
    """Return the key of a compiled model: the file, how it is compiled, and by which OpenVINO for which CPU."""
    version = require("openvino", "openvino").get_version()
    return sha256_of_json([sha256, how, _CHANGES, version, asdict(examine_machine().cpu)])


def _from_cache(key: str, settings: dict[str, Any]) -> Any:
    """Return the openvino.CompiledModel that the cache holds; None without one. One that OpenVINO refuses is deleted."""
    try:
        models = compiled_models()
    except VegrtError:
        return None
    if (content := models.get(key)) is None:
        return None
    try:
        return _core().import_model(io.BytesIO(content), "CPU", settings)
    except Exception as error:  # RuntimeError, and whatever else the plugin meets in the file: it is compiled again
        log.debug("openvino: the compiled model %s does not load (%s)", key, error)
        models.remove(key)
        return None


def _keep(key: str, compiled: Any, model: Path, sha256: str) -> None:
    """Store a compiled model in the cache, unless the file has been replaced since its SHA-256 was taken."""
    try:
        if sha256_of(model) == sha256:
            compiled_models().put(key, compiled.export_model().getvalue())
    except (OSError, RuntimeError, VegrtError) as error:
        log.debug("%s: the compiled model was not stored (%s)", model, error)


def _spell_out(node: Any) -> None:
    """Replace a FakeQuantize, which QuantizeLinear is read as, by the float arithmetic that defines it.

    round((min(max(x, low), high) - low) / step) * step_out + low_out, rounded to even as QuantizeLinear does; step, step_out: the
    width of the range by levels - 1 (OpenVINO's operation FakeQuantize-1). What reads it cannot run by 8-bit kernels.
    """
    ops = require("openvino.opset13", "openvino")
    given, low, high, low_out, high_out = (node.input_value(place) for place in range(5))
    steps = ops.constant(np.float32(node.get_attributes()["levels"] - 1))
    step, step_out = (ops.divide(ops.subtract(*ends), steps) for ends in ((high, low), (high_out, low_out)))
    inside = ops.minimum(ops.maximum(given, low), high)
    index = ops.round(ops.divide(ops.subtract(inside, low), step), "half_to_even")
    node.output(0).replace(ops.add(ops.multiply(index, step_out), low_out).output(0))


@cache
def _core() -> Any:
    """Return the process's one Core. Two of them, closed in the order that they were opened, leave the thread a signal
    stack that is no longer mapped (OpenVINO 2026.4, CPU plugin): the next Ctrl-C is then a segmentation fault.
    """
    return require("openvino", "openvino").Core()
