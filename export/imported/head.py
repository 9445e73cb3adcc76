"""The end of an imported classifier: its output, and the tensor of the logits in front of a Softmax."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from vegrt.errors import ModelError
from vegrt.export.imported.operators import QUANTIZE

_SOFTMAX = ("Softmax", "LogSoftmax", "QLinearSoftmax")
_SIGMOID = ("Sigmoid", "HardSigmoid", "QLinearSigmoid")
_PASSED = ("Identity", *QUANTIZE)
_SHAPING = (*_PASSED, "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Clip")  # they do not change scores


def choose_output(graph: onnx.GraphProto, name: str, subject: str) -> None:
    """Leave one output in the graph, the named one. Raises ModelError when there are several and none is named, or none of it."""
    chosen = [value for value in graph.output if name in ("", value.name)]
    if name and not chosen:
        raise ModelError(f"{subject}: output {name!r}; expected one of {listed_values(graph.output)}")
    if len(chosen) > 1:
        raise ModelError(
            f"{subject}: outputs {listed_values(chosen)}; expected one score per class: name that output with --output"
        )
    if not chosen:
        raise ModelError(f"{subject}: has no output; expected one score per class")
    del graph.output[:]
    graph.output.extend(chosen)


def listed_values(values: Iterable[onnx.ValueInfoProto]) -> str:
    """Return the names and shapes of values, as text."""
    texts = []
    for value in values:
        shape = value.type.tensor_type.shape.dim
        texts.append(f"{value.name} {shape_text(value.type.tensor_type)}" if shape else value.name)
    return ", ".join(texts) or "none"


def shape_text(kind: onnx.TypeProto.Tensor) -> str:
    """Return the shape of a tensor, as text; an unknown size is a question mark."""
    return "(" + ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in kind.shape.dim) + ")"


def find_logits(graph: onnx.GraphProto, subject: str) -> str:
    """Return the tensor of the scores: the output, or the input of the Softmax at the end.

    The integers before a QLinearSoftmax get a DequantizeLinear, which is added to the graph. Raises ModelError for a Sigmoid.
    """
    producers = {name: node for node in graph.node for name in node.output}
    output: str = graph.output[0].name
    last = _last_operator(producers, output, _PASSED)
    scoring = _last_operator(producers, output, _SHAPING)
    if scoring is not None and scoring.op_type in _SIGMOID:
        raise ModelError(
            f"{subject}: ends in {scoring.op_type}, a yes or no per class; expected one class per photo: if so, export the input "
            f"of the {scoring.op_type} as the output; several labels for one photo are not supported"
        )
    if last is None or last.op_type not in _SOFTMAX:
        return output
    axis = next((attribute.i for attribute in last.attribute if attribute.name == "axis"), -1)
    if axis not in (-1, 1):
        raise ModelError(f"{subject}: ends in {last.op_type} over axis {axis}; expected it over the classes, axis 1")
    return _dequantized(graph, last) if last.op_type == "QLinearSoftmax" else str(last.input[0])


def _dequantized(graph: onnx.GraphProto, softmax: onnx.NodeProto) -> str:
    """Return the input of a QLinearSoftmax as floats, by a new node. Its first inputs are the integers, scale and zero point."""
    name = f"{softmax.input[0]}/logits"
    inputs = [value for value in softmax.input[:3] if value]
    graph.node.append(onnx.helper.make_node("DequantizeLinear", inputs, [name], name=name))
    return name


def _last_operator(producers: dict[str, onnx.NodeProto], name: str, skipped: tuple[str, ...]) -> onnx.NodeProto | None:
    """Return the last node before tensor `name` whose operator is not in `skipped`; None if there is no such node."""
    while name in producers and producers[name].op_type in skipped:
        name = producers[name].input[0]
    return producers.get(name)
