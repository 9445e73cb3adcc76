"""The layer audit: whether the layers with weights of an engine compute in the type that its variant asks for.

A layer whose type could not be read is unknown: it neither passes nor fails, and the audit names it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import onnx
import onnx_ir as ir

from vegrt.calibration.graph.work import weight_layers
from vegrt.errors import EngineError
from vegrt.export.engines.layers import Layer, is_unknown, unknown

log = logging.getLogger(__name__)

Source = Literal["builder's log", "engine inspector"]
_NAMED = 8  # layers named in a message; the rest is counted
# They prepare the data of the layers that they name, or move data between them.
_PREPARING = frozenset({"kgen", "shape_call", "Reformat", "NoOp", "Constant", "Shuffle", "Cast", "signal", "wait"})


@dataclass(frozen=True, slots=True)
class LayerAudit:
    """The engine's layers, and how many layers with weights compute in the wanted type.

    wanted: Int8, Half, BFloat16 or Float. matched: of the `weight_layers` in the ONNX graph, those that compute in it.
    fallbacks: those for which the builder chose another type, with that type. in_float: those left in float by the ONNX graph.
    unchecked: those whose type could not be read, with the reason. source: where the layers were read.
    """

    wanted: str
    weight_layers: int
    matched: int
    fallbacks: tuple[str, ...]
    layers: tuple[Layer, ...]
    in_float: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    source: Source = "builder's log"

    @property
    def share(self) -> float:
        """Return the share of all weight layers that certainly compute in the wanted type; 1 without any."""
        return self.matched / self.weight_layers if self.weight_layers else 1.0

    @property
    def possible_share(self) -> float:
        """Return the share if all unchecked layers compute in the wanted type."""
        return (self.matched + len(self.unchecked)) / self.weight_layers if self.weight_layers else 1.0

    def __str__(self) -> str:
        """Return it in words: `18 of 21 weight layers Int8; left in float: conv1, fc; chosen by the builder: ...`."""
        groups = {
            "left in float": self.in_float,
            "chosen by the builder": self.fallbacks,
            "not checked": self.unchecked,
        }
        notes = [f"{reason}: {_listed(names)}" for reason, names in groups.items() if names]
        return "; ".join([f"{self.matched} of {self.weight_layers} weight layers {self.wanted}", *notes])

    def counts(self) -> dict[str, Any]:
        """Return the facts that the manifest keeps of the audit."""
        numbers = {"weight_layers": self.weight_layers, "matched": self.matched, "unchecked": len(self.unchecked)}
        return numbers | {"wanted": self.wanted, "layers_from": self.source}

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as JSON values, in words too, with a count of layers by type and data types."""
        summary = Counter(
            f"{layer.type}: {'+'.join(sorted(set(layer.inputs)))} -> {'+'.join(sorted(set(layer.outputs)))}"
            for layer in self.layers
        )
        return {"in_words": str(self)} | asdict(self) | {"summary": dict(sorted(summary.items()))}


def audit_model(layers: Sequence[Layer], model: bytes, wanted: str, source: Source = "builder's log") -> LayerAudit:
    """Return the audit of an engine's layers against the ONNX model; only layers that are quantized there have to be Int8."""
    names = weight_layer_names(model)
    in_float = set(names) - set(weight_layer_names(model, quantized=True)) if wanted == "Int8" else ()
    return audit_layers(layers, names, wanted, in_float=in_float, source=source)


def audit_layers(
    layers: Sequence[Layer],
    weight_layers: Sequence[str],
    wanted: str,
    *,
    in_float: Collection[str] = (),
    source: Source = "builder's log",
) -> LayerAudit:
    """Return the audit. weight_layers: names of ONNX nodes that should compute in `wanted`, except for those in `in_float`."""
    types = {name: _type_of(name, layers) for name in weight_layers if name not in in_float}
    unchecked = tuple(f"{name}: {kind}" for name, kind in types.items() if is_unknown(kind))
    known = {name: kind for name, kind in types.items() if not is_unknown(kind)}
    fallbacks = tuple(f"{name} ({kind})" for name, kind in known.items() if kind != wanted)
    float_layers = tuple(name for name in weight_layers if name in in_float)
    matched = len(known) - len(fallbacks)
    return LayerAudit(wanted, len(weight_layers), matched, fallbacks, tuple(layers), float_layers, unchecked, source)


def check_audit(subject: str, audit: LayerAudit, *, min_share: float | None = None) -> None:
    """Raise EngineError where the layers with weights do not compute in the wanted type; warn where that is unknown.

    min_share: the smallest share of all of them, which has to be certain; None requires each layer that the ONNX graph does not
    leave in float.
    """
    if audit.weight_layers and not audit.matched and not audit.unchecked:
        raise EngineError(f"{subject}: {audit}; the model does not compute in {audit.wanted}; export it again")
    if min_share is not None:
        _check_share(subject, audit, min_share)
    elif audit.fallbacks:
        raise EngineError(f"{subject}: {audit}; expected no other type (--min-int8 SHARE allows some)")
    if audit.unchecked:
        log.warning("%s: %s; the engine is kept; vegrt evaluate measures its accuracy", subject, audit)


def _check_share(subject: str, audit: LayerAudit, min_share: float) -> None:
    expected = f"{audit.share:.1%}, expected at least {min_share:.1%} (--min-int8)"
    if audit.possible_share < min_share:
        raise EngineError(f"{subject}: {audit}; {expected}")
    if audit.share < min_share:
        raise EngineError(f"{subject}: {audit}; {expected}: not proven, leave --min-int8 out to accept it")


def weight_layer_names(model: bytes, *, quantized: bool = False) -> list[str]:
    """Return the names of an ONNX model's layers with weights. quantized: only those that read 8-bit data and weights."""
    nodes = weight_layers(ir.from_proto(onnx.load_model_from_string(model)))
    return [str(node.name) for node in nodes if not quantized or _reads_8_bits(node)]


def _reads_8_bits(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs[:2] if value is not None]
    return all(producer is not None and producer.op_type == "DequantizeLinear" for producer in producers)


def _type_of(name: str, layers: Iterable[Layer]) -> str:
    """Return the type in which an ONNX node is computed; unknown where no layer names it, or where several layers disagree.

    A node that only preparing layers name is computed by them, as small 1 x 1 convolutions are by kgen (in squeeze and excitation
    of EfficientNet-B0, TensorRT-RTX 1.7).
    """
    naming = [layer for layer in layers if name in layer.onnx]
    computing = [layer for layer in naming if layer.type not in _PREPARING] or naming
    types = sorted({layer.computes_in for layer in computing})
    if len(types) == 1:
        return types[0]
    return unknown(" and ".join(types) if types else "not listed")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
