"""The calibration key: everything that ranges depend on, so that ranges of another model or other photos are never reused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from vegrt.calibration.graph.placement import Encoding
from vegrt.calibration.ranges.methods import METHODS
from vegrt.calibration.ranges.observe import BINS
from vegrt.calibration.settings import CalibrationSettings
from vegrt.calibration.tournament.race import RULE
from vegrt.files.hashing import sha256_of_json
from vegrt.photo.contract import Contract
from vegrt.results.header import installed_versions

TOOLS = ("numpy", "onnx-ir", "onnxruntime", "onnxruntime-gpu")
_WORDS = {"graph": "another graph", "weights": "other weights", "photos": "other photos"}


def calibration_key(
    model: ir.Model,
    photos: Mapping[str, Sequence[str]],
    contract: Contract,
    settings: CalibrationSettings,
    levels: Mapping[Encoding, int],
) -> dict[str, Any]:
    """Return the parts of the key as JSON values.

    photos: content hashes of the observed and of the held-out photos. levels: the largest weight magnitude by encoding.
    """
    graph, weights = fingerprints(model)
    return {
        "graph": graph,
        "weights": weights,
        "photos": {
            role: {"count": len(hashes), "sha256": sha256_of_json(list(hashes))} for role, hashes in photos.items()
        },
        "contract": contract.to_dict(),
        "method": {
            "names": list(METHODS),
            "percentile": settings.percentile,
            "bins": BINS,
            "weight levels": dict(levels),
        }
        | ({"racing": RULE} if settings.racing else {}),
        "tools": installed_versions(TOOLS),
    }


def fingerprints(model: ir.Model) -> tuple[str, str]:
    """Return the SHA-256 of a graph's structure, without metadata, and of its weights."""
    proto = ir.to_proto(model)
    weights = hashlib.sha256()
    for tensor in sorted(proto.graph.initializer, key=lambda tensor: tensor.name):
        weights.update(f"{tensor.name}\0{tensor.data_type}\0{list(tensor.dims)}\0".encode())
        weights.update(hashlib.sha256(tensor.SerializeToString(deterministic=True)).digest())
    nodes = [
        [node.op_type, node.domain, node.name, list(node.input), list(node.output), _attributes(node)]
        for node in proto.graph.node
    ]
    opsets = sorted((opset.domain, opset.version) for opset in proto.opset_import)
    return sha256_of_json([nodes, opsets]), weights.hexdigest()


def key_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words the parts in which an old key differs from the new one; none when they are equal."""
    words: list[str] = []
    for part, new_value in new.items():
        old_value = old.get(part)
        if old_value == new_value:
            continue
        if part == "photos" and isinstance(old_value, Mapping):
            counts = [sum(photos["count"] for photos in value.values()) for value in (old_value, new_value)]
            words.append(_WORDS[part] if counts[0] == counts[1] else f"{counts[0]} photos, now {counts[1]}")
        elif isinstance(new_value, Mapping) and isinstance(old_value, Mapping):
            words += [
                f"{part}: {name} {old_value.get(name, 'absent')}, now {new_value.get(name, 'absent')}"
                for name in {**old_value, **new_value}
                if old_value.get(name) != new_value.get(name)
            ]
        else:
            words.append(_WORDS.get(part, f"another {part}"))
    return words


def _attributes(node: Any) -> list[str]:
    return sorted(
        hashlib.sha256(attribute.SerializeToString(deterministic=True)).hexdigest() for attribute in node.attribute
    )
