"""The bill of materials of a bundle, CycloneDX 1.6 as JSON: an ML-BOM with a model card, the data sets and all artifacts.

It is written as JSON here, because cyclonedx-python-lib (11.12) has neither model cards nor data sets, and checked by that
library against CycloneDX's own JSON schema before it is written. The same bundle gives the same bytes: there is no time and
no random number in it. docs/bundle-format.md describes it.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.entries import SBOM, SIGNATURE, is_regular
from vegrt.bundle.manifest import Artifact, Manifest
from vegrt.errors import VegrtError, require
from vegrt.files.atomic import write_json
from vegrt.version import __version__

EXTRA = "supply-chain"
UNKNOWN = "NOASSERTION"  # SPDX's word for what nobody stated
_SPEC = "1.6"
_MODEL = "model"
_MODEL_ROLES = ("weights", "source", "model", "mnn", "engine")
_SHA256 = re.compile("[0-9a-f]{64}")
# what of the recipe says from where the weights came
_PRETRAINED = {"imagenet": "weights that torchvision or timm publish for this network, trained on ImageNet"}
_PYTHON_PACKAGES = ("torch", "torchvision", "timm", "MNN", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class Licences:
    """What the bundle's owner states, because no manifest knows it. weights, data: SPDX identifiers, or names of licences.

    dataset: name of the data set. Whatever is empty is stated as unknown.
    """

    weights: str = ""
    dataset: str = ""
    data: str = ""


def write_sbom(path: Path, licences: Licences) -> Bundle:
    """Write the bill of materials into a bundle, as an artifact, and return the changed bundle. A signature is then void.

    Raises MissingExtraError without cyclonedx-python-lib, and BundleError for a bundle that cannot be changed.
    """
    _validator()  # before anything is locked
    with changing(path) as staging:
        bundle = open_bundle(path)
        write_json(staging.file(SBOM), bill_of_materials(bundle.manifest, licences))
        staging.add(SBOM, "sbom")
        staging.finish(bundle.manifest)
    return open_bundle(path)


def save_sbom(bundle: Bundle, out: Path, licences: Licences) -> None:
    """Write the bill of materials to a file, atomically; the bundle stays as it is."""
    write_json(out, bill_of_materials(bundle.manifest, licences))


def is_signed(bundle: Bundle) -> bool:
    """Return whether the bundle has a signature, which need not match."""
    return is_regular(bundle.path / SIGNATURE)


def bill_of_materials(manifest: Manifest, licences: Licences) -> dict[str, Any]:
    """Return the bill of materials as JSON values, checked against CycloneDX's schema.

    It lists every artifact with its SHA-256 but itself. Raises MissingExtraError without cyclonedx-python-lib.
    """
    listed = sorted((each for each in manifest.artifacts if each.role != "sbom"), key=lambda each: each.path)
    digest = artifacts_sha256(listed)
    data = [_data(name, facts, licences) for name, facts in sorted(manifest.data.items()) if isinstance(facts, dict)]
    files, tools = [_file(artifact) for artifact in listed], _tools(manifest)
    content = {
        "$schema": f"http://cyclonedx.org/schema/bom-{_SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": _SPEC,
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "vegrt", "version": __version__}]},
            "component": _model(manifest, licences, digest, [part["bom-ref"] for part in data]),
        },
        "components": [*files, *data, *tools],
        "dependencies": _dependencies([*files, *data], tools),
    }
    return numbered(content, manifest.name)


def numbered(content: dict[str, Any], subject: str) -> dict[str, Any]:
    """Return a bill of materials with a serial number made from its content: another bill has another one.

    Raises MissingExtraError without cyclonedx-python-lib, VegrtError for what CycloneDX's schema does not allow.
    """
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    bill = content | {"serialNumber": f"urn:uuid:{serial}"}
    if fault := _validator().validate_str(json.dumps(bill)):
        raise VegrtError(f"{subject}: its bill of materials is not valid CycloneDX {_SPEC} ({fault!r:.300})")
    return bill


def artifacts_sha256(artifacts: list[Artifact]) -> str:
    """Return the SHA-256, in hex, of the output of sha256sum for the artifacts, sorted by path."""
    lines = [f"{artifact.sha256}  {artifact.path}\n" for artifact in artifacts]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _validator() -> Any:
    """Return the validator of CycloneDX's schema. Raises MissingExtraError if its packages are not installed."""
    require("cyclonedx", EXTRA)
    require("jsonschema", EXTRA)
    return _read_schema()


@cache
def _read_schema() -> Any:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6)


def _model(manifest: Manifest, licences: Licences, digest: str, data: list[str]) -> dict[str, Any]:
    ancestors = _ancestors(manifest)
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": manifest.name,
        "version": digest[:12],
        "licenses": _licence(licences.weights),
        **({"pedigree": {"ancestors": ancestors}} if ancestors else {}),
        "modelCard": _model_card(manifest, data),
        "properties": _properties(
            {
                "vegrt:artifacts-sha256": digest,
                "vegrt:bundle-format": str(manifest.contract.edition),
                **({} if licences.weights else {"vegrt:licence": "unknown: the bundle does not state it"}),
            }
        ),
    }


def _model_card(manifest: Manifest, data: list[str]) -> dict[str, Any]:
    contract, training = manifest.contract, manifest.training
    facts = {
        "vegrt:classes": json.dumps(list(manifest.classes), ensure_ascii=False),
        "vegrt:contract": json.dumps(contract.to_dict(), ensure_ascii=False, sort_keys=True),
        "vegrt:recipe": json.dumps(training.get("recipe", {}), ensure_ascii=False, sort_keys=True),
        "vegrt:calibration-method": json.dumps(manifest.calibration.get("method", {}), sort_keys=True),
        "vegrt:calibration-photos": str(manifest.calibration.get("images", 0)),
    }
    architecture = manifest.model.get("backbone") or manifest.model.get("onnx")
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "image classification",
            **({"modelArchitecture": str(architecture)} if architecture else {}),
            **({"datasets": [{"ref": name} for name in data]} if data else {}),
            "inputs": [{"format": f"uint8 RGB images (N, {contract.height}, {contract.width}, 3)"}],
            "outputs": [{"format": f"float32 logits (N, {len(manifest.classes)})"}],
        },
        **_analysis(training.get("validation_accuracy")),
        "properties": _properties(facts),
    }


def _analysis(accuracy: float | None) -> dict[str, Any]:
    """Return the measures of the model card; none for a network that was not trained here."""
    if accuracy is None:
        return {}
    metric = {"type": "accuracy", "value": f"{accuracy:.6g}", "slice": "validation split, during training"}
    return {"quantitativeAnalysis": {"performanceMetrics": [metric]}}


def _ancestors(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the models that this one was made from, as far as the manifest names them; their licences are unknown."""
    recipe = manifest.training.get("recipe")
    recipe = recipe if isinstance(recipe, dict) else {}
    weights, checkpoint = str(recipe.get("weights") or "none"), str(recipe.get("qat_sha256") or "")
    ancestors = []
    if weights != "none":
        described = _PRETRAINED.get(weights, f"weights that were given as a file named {weights}")
        ancestors.append(_ancestor(f"{manifest.model.get('backbone', 'network')}: {weights}", described))
    if _SHA256.fullmatch(checkpoint):
        trained = _ancestor("checkpoint", "the checkpoint from which quantization-aware training began")
        ancestors.append(trained | {"hashes": [_hash(checkpoint)]})
    return ancestors


def _ancestor(name: str, description: str) -> dict[str, Any]:
    return {"type": "machine-learning-model", "name": name, "description": description, "licenses": _licence("")}


def _file(artifact: Artifact) -> dict[str, Any]:
    facts = {"vegrt:role": artifact.role, "vegrt:size-bytes": str(artifact.size_bytes)}
    return {
        "type": "machine-learning-model" if artifact.role in _MODEL_ROLES else "file",
        "bom-ref": f"artifact:{artifact.path}",
        "name": artifact.path,
        "hashes": [_hash(artifact.sha256)],
        "properties": _properties(facts | ({"vegrt:variant": artifact.variant} if artifact.variant else {})),
    }


def _data(split: str, facts: dict[str, Any], licences: Licences) -> dict[str, Any]:
    fingerprint, photos = str(facts.get("fingerprint", "")), facts.get("photos", 0)
    name = f"{licences.dataset or 'unnamed data set'}, {split} split"
    contents = {
        "vegrt:photos": str(photos),
        "vegrt:counts": json.dumps(facts.get("counts", {}), ensure_ascii=False, sort_keys=True),
        "vegrt:fingerprint": f"{fingerprint}: SHA-256 over the names and the contents of the photos",
    }
    return {
        "type": "data",
        "bom-ref": f"data:{split}",
        "name": name,
        "licenses": _licence(licences.data),
        **({"hashes": [_hash(fingerprint)]} if _SHA256.fullmatch(fingerprint) else {}),
        "data": [{"type": "dataset", "name": name, "contents": {"properties": _properties(contents)}}],
    }


def _tools(manifest: Manifest) -> list[dict[str, Any]]:
    """Return what the bundle was made with, besides vegrt. Its scope is `excluded`: it is not part of the bundle."""
    return [
        {
            "type": "library" if name in _PYTHON_PACKAGES else "platform" if name == "python" else "application",
            "bom-ref": f"tool:{name}",
            "name": name,
            "version": version,
            "scope": "excluded",
            **({"purl": f"pkg:pypi/{name.lower()}@{quote(version, safe='')}"} if name in _PYTHON_PACKAGES else {}),
        }
        for name, version in sorted(manifest.tools.items())
        if name != "vegrt"
    ]


def _dependencies(parts: list[dict[str, Any]], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    refs = [part["bom-ref"] for part in parts]
    return [
        {"ref": _MODEL, "dependsOn": refs},
        *({"ref": ref} for ref in refs),
        *({"ref": tool["bom-ref"]} for tool in tools),
    ]


def _licence(name: str) -> list[dict[str, Any]]:
    """Return a licence: by its SPDX identifier if it is one, else by name; unknown if the name is empty."""
    require("cyclonedx", EXTRA)
    from cyclonedx.spdx import fixup_id, is_expression

    if identifier := fixup_id(name):
        return [{"license": {"id": identifier}}]
    if name and is_expression(name) and " " in name:
        return [{"expression": name}]
    return [{"license": {"name": name or UNKNOWN}}]


def _hash(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256}


def _properties(facts: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in facts.items()]
