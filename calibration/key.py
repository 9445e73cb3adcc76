"""The calibration key: everything that ranges depend on, so that ranges of something else are never used by mistake."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from vegrt.calibration.observe import BINS
from vegrt.calibration.place import Encoding
from vegrt.calibration.ranges import METHODS
from vegrt.calibration.settings import CalibrationSettings
from vegrt.files.hashing import sha256_of_json
from vegrt.photo.preprocess import Contract
from vegrt.results.files import versions

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

    photos: content hashes of the observed and of the judging photos. levels: the largest weight magnitude by encoding.
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
        },
        "tools": versions(TOOLS),
    }


def fingerprints(model: ir.Model) -> tuple[str, str]:
    """Return the SHA-256 of a graph's structure, without notes, and of its weights."""
    proto = ir.to_proto(model)
    weights = hashlib.sha256()
    for tensor in sorted(proto.graph.initializer, key=lambda one: one.name):
        weights.update(f"{tensor.name}\0{tensor.data_type}\0{list(tensor.dims)}\0".encode())
        weights.update(hashlib.sha256(tensor.SerializeToString(deterministic=True)).digest())
    nodes = [
        [node.op_type, node.domain, node.name, list(node.input), list(node.output), _attributes(node)]
        for node in proto.graph.node
    ]
    opsets = sorted((one.domain, one.version) for one in proto.opset_import)
    return sha256_of_json([nodes, opsets]), weights.hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words in which parts a key differs from the one that is needed; none when they are equal."""
    found: list[str] = []
    for part, wanted in new.items():
        had = old.get(part)
        if had == wanted:
            continue
        if part == "photos" and isinstance(had, Mapping):
            counts = sum(one["count"] for one in had.values()), sum(one["count"] for one in wanted.values())
            found.append(_WORDS[part] if counts[0] == counts[1] else f"{counts[0]} photos, now {counts[1]}")
        elif isinstance(wanted, Mapping) and isinstance(had, Mapping):
            changed = [name for name in {**had, **wanted} if had.get(name) != wanted.get(name)]
            found += [f"{part}: {name} {had.get(name, 'absent')}, now {wanted.get(name, 'absent')}" for name in changed]
        else:
            found.append(_WORDS.get(part, f"another {part}"))
    return found


def _attributes(node: Any) -> list[str]:
    return sorted(hashlib.sha256(one.SerializeToString(deterministic=True)).hexdigest() for one in node.attribute)
