"""The layer audit: the data types of each engine layer, read from the log of the TensorRT builder.

A plan cannot be inspected without a GPU, but with a VERBOSE logger and DETAILED profiling the builder prints every engine
layer with its data types (tried with TensorRT-RTX 1.7).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_HEADER = "Layers:\nName:"
_LAYER = re.compile(
    r"\s*Name: (?P<name>.*?), LayerType: (?P<type>\w+), Inputs: \[(?P<inputs>.*?)\](?=, (?:Constants|Outputs): \[).*?"
    r", Outputs: \[(?P<outputs>.*?)\], (?:TacticName|ParameterType|TacticValue|StreamId|Metadata)"
)
_DATATYPE = re.compile(r"Datatype: (\w+)")
_NAMED = 8  # layers named in a message; the rest is counted
_ONNX = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_POINTWISE = frozenset(
    {"kgen", "shape_call", "Reformat", "NoOp"}
)  # they name the convolution that they prepare data for


@dataclass(frozen=True, slots=True)
class Layer:
    """One engine layer. inputs, outputs: TensorRT data type names. onnx: names of the ONNX nodes fused into it."""

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    onnx: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LayerAudit:
    """The builder's layers, and the number of layers with weights that got the wanted type.

    wanted: Int8, Half, BFloat16 or Float. matched: weight layers that read that type, of `weight_layers` in the ONNX graph.
    fallbacks: those for which the builder chose another type, with that type. in_float: those left in float by the ONNX graph.
    """

    wanted: str
    weight_layers: int
    matched: int
    fallbacks: tuple[str, ...]
    layers: tuple[Layer, ...]
    in_float: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Return the share of all weight layers that read the wanted type; 1 without any."""
        return self.matched / self.weight_layers if self.weight_layers else 1.0

    def __str__(self) -> str:
        """Return it in words: `18 of 21 weight layers Int8; left in float: conv1, fc; chosen by the builder: ...`."""
        reasons = {"left in float": self.in_float, "chosen by the builder": self.fallbacks}
        notes = [f"{reason}: {_listed(names)}" for reason, names in reasons.items() if names]
        return "; ".join([f"{self.matched} of {self.weight_layers} weight layers {self.wanted}", *notes])

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as JSON values, in words too, with a count of layers by type and data types."""
        counts = Counter(
            f"{layer.type}: {'+'.join(sorted(set(layer.inputs)))} -> {'+'.join(sorted(set(layer.outputs)))}"
            for layer in self.layers
        )
        return {"in_words": str(self)} | asdict(self) | {"summary": dict(sorted(counts.items()))}


def parse_layers(messages: Sequence[str]) -> tuple[Layer, ...]:
    """Return the layers in the last list that the builder logged; none when it logged none."""
    text = "\n".join(messages)
    start = text.rfind(_HEADER)
    parsed = [_parse(line) for line in text[start:].splitlines()] if start >= 0 else []
    return tuple(layer for layer in parsed if layer is not None)


def audit_layers(
    layers: Sequence[Layer], weight_layers: Sequence[str], wanted: str, *, in_float: Collection[str] = ()
) -> LayerAudit:
    """Return the audit. weight_layers: names of ONNX nodes whose first input should be `wanted`, except for `in_float`."""
    types = _types(layers, pointwise=True) | _types(layers, pointwise=False)
    required = [name for name in weight_layers if name not in in_float]
    fallbacks = tuple(f"{name} ({types.get(name, 'not listed')})" for name in required if types.get(name) != wanted)
    float_layers = tuple(name for name in weight_layers if name in in_float)
    matched = len(required) - len(fallbacks)
    return LayerAudit(wanted, len(weight_layers), matched, fallbacks, tuple(layers), float_layers)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _types(layers: Sequence[Layer], *, pointwise: bool) -> dict[str, str]:
    """Return the type of the first input by ONNX node, from pointwise kernels or from all other layers.

    A node that only a pointwise kernel names is computed by it, as small 1 x 1 convolutions are (in squeeze and excitation of
    EfficientNet-B0, TensorRT-RTX 1.7).
    """
    chosen = [layer for layer in layers if (layer.type in _POINTWISE) == pointwise]
    return {name: "/".join(layer.inputs[:1]) for layer in chosen for name in layer.onnx}


def _parse(line: str) -> Layer | None:
    matched = _LAYER.match(line)
    if matched is None:
        return None
    return Layer(
        name=matched["name"],
        type=matched["type"],
        inputs=tuple(_DATATYPE.findall(matched["inputs"])),
        outputs=tuple(_DATATYPE.findall(matched["outputs"])),
        onnx=tuple(dict.fromkeys(_ONNX.findall(line))),
    )
