"""What an ONNX file says of itself, read without any ONNX library: a device that runs engines only has none.

Only `metadata_props` is read; the graph, which is nearly all of the file, is stepped over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vegrt.bundle.bundle import Bundle
from vegrt.errors import FormatError, ModelError
from vegrt.protobuf import fields, mapped, messages
from vegrt.schema import build, parse_json

_METADATA_PROPS = 14  # of ModelProto; in each entry 1 is the key and 2 the value (onnx.proto)
_UNSAID = {"icc": "ignore"}  # what a contract means that does not say it


@dataclass(frozen=True, slots=True)
class _Said:
    """What a model may say of itself."""

    classes: tuple[str, ...] | None
    contract: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Compared:
    """differences: from the manifest, in words. silent: the models that say nothing of their classes: nothing was compared."""

    differences: tuple[str, ...]
    silent: tuple[str, ...]


def read_metadata(model: Path) -> dict[str, str]:
    """Return the metadata_props of an ONNX file. Raises ModelError when it is no protobuf."""
    try:
        pairs = [_texts(entry) for entry in messages(memoryview(mapped(model)), _METADATA_PROPS)]
        return {pair.get(1, ""): pair.get(2, "") for pair in pairs}
    except (ValueError, OSError) as error:
        raise ModelError(f"{model}: not an ONNX file ({error}); export the bundle again") from error


def _texts(entry: memoryview) -> dict[int, str]:
    return {number: str(value, "utf-8") for number, value in fields(entry) if isinstance(value, memoryview)}


def metadata_conflicts(bundle: Bundle) -> Compared:
    """Compare what the ONNX models of a bundle say of classes and contract with its manifest.

    The graph was made for what the file says, so a manifest that says something else names classes wrongly or describes other
    pixels. Raises ModelError as read_metadata does, BundleError as Bundle.file.
    """
    found: list[str] = []
    silent: list[str] = []
    for artifact in bundle.manifest.artifacts:
        if artifact.role == "model":
            metadata = read_metadata(bundle.file("model", artifact.variant))
            found += _differences(bundle, artifact.path, metadata)
            silent += [artifact.path] if "vegrt.classes" not in metadata else []
    return Compared(tuple(found), tuple(silent))


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
