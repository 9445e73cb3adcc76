"""What an ONNX file says of itself, read without any ONNX library: a device that runs engines only has none.

ONNX is protobuf: a message is a row of fields, each a key (number << 3 | wire type) and its value. Only `metadata_props` is read;
the graph, which is nearly all of the file, is stepped over.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vegrt.bundle import Bundle
from vegrt.errors import FormatError, ModelError
from vegrt.schema import build, parse_json

_METADATA_PROPS = 14  # of ModelProto; in each entry 1 is the key and 2 the value (onnx.proto)
_UNSAID = {"icc": "ignore"}  # what a contract means that does not say it
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class _Said:
    """What a model may say of itself."""

    classes: tuple[str, ...] | None
    contract: dict[str, Any] | None


def read_metadata(model: Path) -> dict[str, str]:
    """Return the metadata_props of an ONNX file. Raises ModelError when it is no protobuf."""
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            entries = [data[start:end] for number, start, end in _fields(data) if number == _METADATA_PROPS]
        pairs = [{number: entry[start:end] for number, start, end in _fields(entry)} for entry in entries]
        return {pair.get(1, b"").decode(): pair.get(2, b"").decode() for pair in pairs}
    except (ValueError, IndexError, OSError) as error:
        raise ModelError(f"{model}: not an ONNX file ({error}); export the bundle again") from error


def foreign_metadata(bundle: Bundle) -> list[str]:
    """Return what the ONNX models of a bundle say of classes and contract that its manifest does not, in words.

    The graph was made for what the file says, so a manifest that says something else names classes wrongly or describes other
    pixels. Files that say nothing are passed over.
    """
    found: list[str] = []
    for artifact in bundle.manifest.artifacts:
        if artifact.role == "model":
            found += _differences(bundle, artifact.path, read_metadata(bundle.file("model", artifact.variant)))
    return found


def silent_models(bundle: Bundle) -> list[str]:
    """Return the ONNX models of a bundle that say nothing of their classes: nothing of them was compared."""
    models = [artifact.path for artifact in bundle.manifest.artifacts if artifact.role == "model"]
    return [path for path in models if "vegrt.classes" not in read_metadata(bundle.path / path)]


def _differences(bundle: Bundle, name: str, metadata: dict[str, str]) -> Iterator[str]:
    try:
        classes, contract = (
            parse_json(metadata.get(f"vegrt.{key}", "null").encode()) for key in ("classes", "contract")
        )
        build(_Said, {"classes": classes, "contract": contract})
    except FormatError as error:
        yield f"{name}: its metadata is damaged ({error})"
        return
    if classes is not None and tuple(classes) != bundle.manifest.classes:
        yield _class_difference(name, list(bundle.manifest.classes), classes)
    said, contract = _UNSAID | bundle.manifest.contract.to_dict(), contract and _UNSAID | contract
    if contract is not None and contract != said:
        yield _contract_difference(name, said, contract)


def _class_difference(name: str, manifest: list[str], model: list[str]) -> str:
    if sorted(manifest) != sorted(model):
        return f"classes differ: {name} was made for {', '.join(model)}; the manifest names {', '.join(manifest)}"
    moved = [f"{own} is called {other}" for other, own in zip(manifest, model, strict=True) if own != other]
    more = f" and {len(moved) - 4} more" if len(moved) > 4 else ""
    return f"class order differs between manifest and {name}: {', '.join(moved[:4])}{more}"


def _contract_difference(name: str, manifest: dict[str, Any], model: dict[str, Any]) -> str:
    keys = [key for key in manifest if manifest[key] != model.get(key)]
    shown = "; ".join(f"{key} {manifest[key]} in the manifest, {model.get(key)} in {name}" for key in keys)
    channels = [key for key in keys if key in ("mean", "std")]
    reverse = channels and all(_reversed(manifest[key], model.get(key)) for key in channels)
    return f"contract differs: {shown}{': red and blue are swapped, it looks like BGR' if reverse else ''}"


def _reversed(one: Any, other: Any) -> bool:
    return isinstance(other, list) and one == other[::-1]


def _fields(message: bytes | mmap.mmap) -> Iterator[tuple[int, int, int]]:
    """Yield each field's number and the limits of its bytes; fields of other wire types are stepped over."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _BYTES:
            size, at = _varint(message, at)
            if at + size > end:
                raise ValueError("cut off")
            yield number, at, at + size
            at += size
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")


def _varint(message: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("malformed number")
