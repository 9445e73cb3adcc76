"""Read what an ONNX file says, and add an output to it, without the `onnx` package: an inference device has none.

Field numbers are those of onnx.proto3: ModelProto.graph 7, ModelProto.metadata_props 14, GraphProto.node 1 and .output 12,
NodeProto.input 1, .output 2, .op_type 4, .attribute 5, AttributeProto.name 1, .ints 8, ValueInfoProto.name 1; in an entry of
metadata_props 1 is the key and 2 the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vegrt.bundle.bundle import Bundle
from vegrt.errors import FormatError, ModelError
from vegrt.protobuf import field, fields, mapped, messages, numbers
from vegrt.schema import build, parse_json

INTERMEDIATE = "vegrt.intermediate"  # an output that is added
_LOGITS = "logits"
_HEADS = frozenset({"Gemm", "MatMul"})
_PASSED_THROUGH = frozenset(
    {"Add", "Cast", "Identity", "Reshape", "Squeeze", "Flatten", "QuantizeLinear", "DequantizeLinear"}
)
_CONVOLUTION, _POOLS = "Conv", frozenset({"AveragePool", "MaxPool"})
_DEFAULTS = {"icc": "ignore"}  # of contract keys that older files do not hold
_SHOWN_CLASSES = 4


@dataclass(frozen=True, slots=True)
class Node:
    """An operator of the graph. strides: empty where it has none."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    strides: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InnerTensors:
    """Names of tensors inside a classifier's graph, from which a foreign photo is told.

    embedding: what the classifier reads. maps: the (N, C, h, w) feature maps that the last downsampling reads; empty where there
    are none, as in a vision transformer.
    """

    embedding: str
    maps: str = ""


def inner_tensors(model: bytes) -> InnerTensors:
    """Return the inner tensors of a model. Raises ModelError as `penultimate`."""
    nodes = read_nodes(model)
    return InnerTensors(penultimate(nodes), last_downsampled(nodes))


def last_downsampled(nodes: Sequence[Node]) -> str:
    """Return the name of the feature maps that the last convolution or pooling with a stride reads; empty without any.

    A pool that no convolution follows only averages what the classifier reads; maps before the first convolution are the image.
    """
    convolutions = [place for place, node in enumerate(nodes) if node.kind == _CONVOLUTION]
    if not convolutions:
        return ""
    for place in range(len(nodes) - 1, convolutions[0], -1):
        node = nodes[place]
        is_convolved = node.kind == _CONVOLUTION or (node.kind in _POOLS and place < convolutions[-1])
        if is_convolved and node.inputs and max(node.strides, default=1) > 1:
            return node.inputs[0]
    return ""


def penultimate(nodes: Sequence[Node]) -> str:
    """Return the name of the tensor that the classifier reads: the first input of the Gemm or MatMul that makes the logits.

    Raises ModelError when its head is built in another way.
    """
    producers = {name: node for node in nodes for name in node.outputs}
    name = _LOGITS
    kinds: list[str] = []
    while (node := producers.get(name)) is not None and len(kinds) <= len(producers):
        if node.kind in _HEADS and node.inputs:
            return node.inputs[0]
        kinds.append(node.kind)
        computed = [tensor for tensor in node.inputs if tensor in producers]  # an Add's bias is a constant
        if node.kind not in _PASSED_THROUGH or not computed:
            break
        name = computed[0]
    raise ModelError(
        f"model: no Gemm or MatMul makes its logits (found: {', '.join(kinds) or 'nothing'}); no embeddings"
    )


def with_outputs(model: bytes, inner: InnerTensors) -> bytes:
    """Return the model with its embedding as an output, and the means of its maps over all positions as INTERMEDIATE.

    Protobuf merges appended fields into the existing message.
    """
    graph = field(12, field(1, inner.embedding.encode()))
    if inner.maps:
        names = field(1, inner.maps.encode()) + field(2, INTERMEDIATE.encode())
        graph += field(1, names + field(4, b"GlobalAveragePool")) + field(12, field(1, INTERMEDIATE.encode()))
    return model + field(7, graph)


def read_nodes(model: bytes) -> list[Node]:
    """Return the operators of a model's graph, in its order. Raises ModelError when the bytes are not protobuf."""
    view = memoryview(model)
    try:
        return [_node(node) for graph in messages(view, 7) for node in messages(graph, 1)]
    except ValueError as error:
        raise ModelError(f"model: not an ONNX file ({error})") from error


def read_metadata(model: Path) -> dict[str, str]:
    """Return the metadata_props of an ONNX file; the graph is skipped. Raises ModelError when the file is not protobuf."""
    try:
        entries = [_texts(entry) for entry in messages(memoryview(mapped(model)), 14)]
        return {entry.get(1, ""): entry.get(2, "") for entry in entries}
    except (ValueError, OSError) as error:
        raise ModelError(f"{model}: not an ONNX file ({error}); export the bundle again") from error


@dataclass(frozen=True, slots=True)
class MetadataConflict:
    """One way in which a model's metadata contradicts the manifest. model: its path in the bundle."""

    model: str
    kind: Literal["classes", "contract", "damaged"]
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class MetadataComparison:
    """The metadata of all models against the manifest. silent: models without metadata of classes, which were not compared."""

    conflicts: tuple[MetadataConflict, ...]
    silent: tuple[str, ...]


def metadata_conflicts(bundle: Bundle) -> MetadataComparison:
    """Compare classes and contract in the metadata of a bundle's ONNX models with its manifest.

    The graph was made for the classes and contract in the file. A manifest that differs names classes wrongly or describes other
    pixels. Raises ModelError as read_metadata does, BundleError as Bundle.file.
    """
    conflicts: list[MetadataConflict] = []
    silent: list[str] = []
    for artifact in bundle.manifest.artifacts:
        if artifact.role == "model":
            metadata = read_metadata(bundle.file("model", artifact.variant))
            conflicts += model_conflicts(bundle, artifact.path, metadata)
            silent += [artifact.path] if "vegrt.classes" not in metadata else []
    return MetadataComparison(tuple(conflicts), tuple(silent))


@dataclass(frozen=True, slots=True)
class _StatedFacts:
    """The schema of a model's own metadata."""

    classes: tuple[str, ...] | None
    contract: dict[str, Any] | None


def model_conflicts(bundle: Bundle, name: str, metadata: dict[str, str]) -> Iterator[MetadataConflict]:
    """Yield how one model's metadata contradicts the manifest. name: the model's path in the bundle."""
    try:
        classes, contract = (
            parse_json(metadata.get(f"vegrt.{key}", "null").encode()) for key in ("classes", "contract")
        )
        build(_StatedFacts, {"classes": classes, "contract": contract})
    except FormatError as error:
        yield MetadataConflict(name, "damaged", f"{name}: its metadata is damaged ({error})")
        return
    if classes is not None and tuple(classes) != bundle.manifest.classes:
        yield MetadataConflict(name, "classes", _class_difference(name, list(bundle.manifest.classes), classes))
    expected, contract = _DEFAULTS | bundle.manifest.contract.to_dict(), contract and _DEFAULTS | contract
    if contract is not None and contract != expected:
        yield MetadataConflict(name, "contract", _contract_difference(name, expected, contract))


def _class_difference(name: str, manifest: list[str], model: list[str]) -> str:
    if sorted(manifest) != sorted(model):
        return f"classes differ: {name} was made for {', '.join(model)}; the manifest names {', '.join(manifest)}"
    moved = [f"{real} is called {listed}" for listed, real in zip(manifest, model, strict=True) if real != listed]
    more = f" and {len(moved) - _SHOWN_CLASSES} more" if len(moved) > _SHOWN_CLASSES else ""
    return f"class order differs between manifest and {name}: {', '.join(moved[:_SHOWN_CLASSES])}{more}"


def _contract_difference(name: str, manifest: dict[str, Any], model: dict[str, Any]) -> str:
    keys = [key for key in manifest if manifest[key] != model.get(key)]
    shown = "; ".join(f"{key} {manifest[key]} in the manifest, {model.get(key)} in {name}" for key in keys)
    channels = [key for key in keys if key in ("mean", "std")]
    reverse = channels and all(_reversed(manifest[key], model.get(key)) for key in channels)
    return f"contract differs: {shown}{': red and blue are swapped, it looks like BGR' if reverse else ''}"


def _reversed(values: Any, others: Any) -> bool:
    return isinstance(others, list) and values == others[::-1]


def _texts(entry: memoryview) -> dict[int, str]:
    return {number: str(value, "utf-8") for number, value in fields(entry) if isinstance(value, memoryview)}


def _is_strides(attribute: memoryview) -> bool:
    return any(bytes(name) == b"strides" for name in messages(attribute, 1))


def _node(content: memoryview) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 4: []}
    strides: list[int] = []
    for number, value in fields(content):
        if number in texts and isinstance(value, memoryview):
            texts[number].append(str(value, "utf-8"))
        elif number == 5 and isinstance(value, memoryview) and _is_strides(value):
            strides += numbers(value, 8)
    return Node("".join(texts[4]), tuple(texts[1]), tuple(texts[2]), tuple(strides))
