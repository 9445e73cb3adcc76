"""Layers of a TensorRT engine with their data types, read from the builder's log or from the engine inspector's JSON.

Without a GPU a plan cannot be inspected, but with a VERBOSE logger and DETAILED profiling the builder prints every engine layer.
Forms: TensorRT 8.4 to 10.x write one field `Format/Datatype`, as a word (`Half`) or as a description of the memory
(`Thirty-two wide channel vectorized row major Int8 format`); 11 and TensorRT-RTX 1.7 write `Datatype` and `Format` apart
(docs.nvidia.com, Migrating IEngineInspector Usage from TensorRT 10.x to 11.x). Words that are not known stay unknown: a reader
that guesses would pass or fail an engine by accident.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# The words of TensorRT's own explorer: NVIDIA/TensorRT, tools/experimental/trt-engine-explorer, trex/activations.py.
_TYPES = {
    "float": "Float",
    "fp32": "Float",
    "half": "Half",
    "fp16": "Half",
    "bfloat16": "BFloat16",
    "bf16": "BFloat16",
    **{name.lower(): name for name in ("Int8", "Int4", "FP8", "FP4", "Bool", "Double")},
    **{name.lower(): name for name in ("Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")},
}
_UNKNOWN = "unknown"
_TENSORS = r"\[(\]|.*?\}\])"  # [] or [ { Name: ..., Datatype: Int8 }, ... ]; names may hold brackets
_LINE = re.compile(
    rf"\s*Name: (.*?), LayerType: ([^,]+), Inputs: {_TENSORS}(?:, Constants: {_TENSORS})?.*?, Outputs: {_TENSORS}(.*)"
)
_DATATYPE = re.compile(r"\b(?:Format/)?Datatype: ([^,}]*)")
_WEIGHTS = re.compile(r'\bWeights: \{"Type": "(\w+)"')
_METADATA = re.compile(r"\bMetadata: (.*)")
_ONNX = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_FUSED = re.compile(r" \+ | \|\| ")  # fused one after another, and side by side


@dataclass(frozen=True, slots=True)
class Layer:
    """One engine layer.

    inputs, outputs: TensorRT data type names, or `unknown (WORDS)`. onnx: names of the ONNX nodes fused into it.
    weights: the type of its weights where TensorRT states it, else empty.
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    onnx: tuple[str, ...]
    weights: str = ""

    @property
    def computes_in(self) -> str:
        """Return the data type that the layer reads and multiplies, or `unknown (REASON)`.

        Engines of TensorRT 10 for a dynamic batch say `N/A due to dynamic shapes` of their tensors; there the weights decide.
        """
        read = self.inputs[0] if self.inputs else unknown("no inputs listed")
        if not self.weights or self.weights == read:
            return read
        if is_unknown(read):
            return self.weights
        return unknown(f"reads {read}, weights are {self.weights}")


class BuilderLog:
    """The layer list of a builder's log, collected while the builder writes it; nothing else of the log is kept."""

    def __init__(self) -> None:
        self._layers: list[Layer] = []

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Return the layers in the last list of the log."""
        return tuple(self._layers)

    def add(self, message: str) -> None:
        """Read one message of the log, of one line or many. A list that begins replaces the one before it."""
        if "LayerType: " not in message and "Layers:" not in message:
            return
        for line in message.splitlines():
            if line.strip() == "Layers:":
                self._layers = []
            elif layer := parse_line(line):
                self._layers.append(layer)


def parse_line(line: str) -> Layer | None:
    """Return the layer that a line of a builder's log describes; None for any other line."""
    if (match := _LINE.match(line)) is None:
        return None
    name, kind, inputs, _, outputs, details = match.groups()
    weights, metadata = _WEIGHTS.search(details), _METADATA.search(details)
    return Layer(
        name=name,
        type=kind,
        inputs=tuple(data_type(words) for words in _DATATYPE.findall(inputs)),
        outputs=tuple(data_type(words) for words in _DATATYPE.findall(outputs)),
        onnx=_onnx_names(name, metadata[1] if metadata else ""),
        weights=data_type(weights[1]) if weights else "",
    )


def parse_inspector(text: str) -> tuple[Layer, ...]:
    """Return the layers in EngineInspector's JSON; none where it is no JSON or, without DETAILED profiling, holds names only."""
    try:
        rows = json.loads(text).get("Layers", [])
    except (ValueError, AttributeError):
        return ()
    return tuple(_layer_of(row) for row in rows if isinstance(row, dict))


def data_type(words: str) -> str:
    """Return the TensorRT data type that a description names, such as Int8; `unknown (WORDS)` where it names none or several."""
    types = {_TYPES[word] for word in re.findall(r"\w+", words.lower()) if word in _TYPES}
    return types.pop() if len(types) == 1 else unknown(words)


def unknown(reason: str) -> str:
    """Return what replaces a data type that could not be read."""
    return f"{_UNKNOWN} ({' '.join(reason.split())})"


def is_unknown(kind: str) -> bool:
    """Return whether a data type could not be read."""
    return kind.startswith(_UNKNOWN)


def _layer_of(row: Mapping[str, Any]) -> Layer:
    name, weights = str(row.get("Name", "")), row.get("Weights")
    return Layer(
        name=name,
        type=str(row.get("LayerType", "")),
        inputs=tuple(_tensor_types(row.get("Inputs"))),
        outputs=tuple(_tensor_types(row.get("Outputs"))),
        onnx=_onnx_names(name, str(row.get("Metadata", ""))),
        weights=data_type(str(weights["Type"])) if isinstance(weights, dict) and "Type" in weights else "",
    )


def _tensor_types(tensors: Any) -> Iterable[str]:
    for tensor in tensors if isinstance(tensors, list) else ():
        fields = {str(key).lower(): value for key, value in tensor.items()} if isinstance(tensor, dict) else {}
        yield data_type(str(fields.get("datatype", fields.get("format/datatype", "no data type"))))


def _onnx_names(name: str, metadata: str) -> tuple[str, ...]:
    """Return the ONNX nodes in the metadata; where it is empty, the parts of the layer's name, which were nodes as well."""
    return tuple(dict.fromkeys(_ONNX.findall(metadata) or _FUSED.split(name)))
