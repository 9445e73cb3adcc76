"""The bill of materials, checked by the validator of cyclonedx-python-lib, and what becomes of it when the bundle changes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.command_line import answer, call, failure
from tests.keys import write_keys
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.entries import SBOM
from vegrt.bundle.pack import pack, unpack
from vegrt.bundle.sbom import UNKNOWN, Licences, bill_of_materials
from vegrt.bundle.signature import open_signed, sign


def is_valid(text: str) -> bool:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def bill_in(path: Path) -> dict[str, Any]:
    bill: dict[str, Any] = json.loads((path / SBOM).read_text(encoding="utf-8"))
    return bill


def properties_of(part: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in part["properties"]}


def test_it_is_valid_and_lists_every_other_artifact(copied: Bundle) -> None:
    shown = answer("bundle", "sbom", copied.path)
    changed = open_bundle(copied.path)
    text = (copied.path / SBOM).read_text(encoding="utf-8")
    assert is_valid(text)
    assert not is_valid(text.replace('"machine-learning-model"', '"network"')), "the validator looks at it"
    listed = {
        part["name"]: part["hashes"][0]["content"]
        for part in json.loads(text)["components"]
        if part["bom-ref"].startswith("artifact:")
    }
    assert listed == {artifact.path: artifact.sha256 for artifact in copied.manifest.artifacts}
    assert changed.artifact("sbom").path == SBOM
    assert shown == {"sbom": str(copied.path / SBOM), "artifacts": len(listed), "signature_is_void": False}


def test_the_model_card_and_the_data_are_those_of_the_manifest(bundle: Bundle) -> None:
    bill = bill_of_materials(bundle.manifest, Licences())
    model = bill["metadata"]["component"]
    parameters = model["modelCard"]["modelParameters"]
    assert (model["type"], parameters["task"]) == ("machine-learning-model", "image classification")
    assert parameters["modelArchitecture"] == "timm:test_resnet"
    assert parameters["inputs"] == [{"format": "uint8 RGB images (N, 48, 48, 3)"}]
    assert json.loads(properties_of(model["modelCard"])["vegrt:classes"]) == list(bundle.manifest.classes)
    (metric,) = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert float(metric["value"]) == pytest.approx(bundle.manifest.training["validation_accuracy"], abs=1e-5)
    parts = {part["bom-ref"]: part for part in bill["components"]}
    for split, facts in bundle.manifest.data.items():
        part = parts[f"data:{split}"]
        assert (part["type"], part["data"][0]["type"]) == ("data", "dataset")
        assert part["hashes"] == [{"alg": "SHA-256", "content": facts["fingerprint"]}]
        assert {"ref": f"data:{split}"} in parameters["datasets"]
    assert parts["tool:onnx"]["purl"] == f"pkg:pypi/onnx@{bundle.manifest.tools['onnx']}"
    assert {entry["ref"] for entry in bill["dependencies"]} == {"model", *parts}


def test_what_is_unknown_is_said_and_what_is_stated_is_used(bundle: Bundle) -> None:
    unknown = bill_of_materials(bundle.manifest, Licences())
    data = [part for part in unknown["components"] if part["type"] == "data"]
    for part in (unknown["metadata"]["component"], *data):
        assert part["licenses"] == [{"license": {"name": UNKNOWN}}]
    assert "does not state it" in properties_of(unknown["metadata"]["component"])["vegrt:licence"]
    stated = bill_of_materials(bundle.manifest, Licences("apache-2.0", "vegetables", "see its page"))
    assert stated["serialNumber"] != unknown["serialNumber"]
    assert stated["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert "vegrt:licence" not in properties_of(stated["metadata"]["component"])
    (train,) = [part for part in stated["components"] if part["bom-ref"] == "data:train"]
    assert (train["name"], train["licenses"]) == ("vegetables, train split", [{"license": {"name": "see its page"}}])
    both = bill_of_materials(bundle.manifest, Licences("MIT OR Apache-2.0"))
    assert both["metadata"]["component"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ({"weights": "none"}, []),
        ({"weights": "imagenet"}, ["timm:test_resnet: imagenet"]),
        ({"weights": "own.safetensors"}, ["timm:test_resnet: own.safetensors"]),
        ({"weights": "none", "qat_sha256": "0a" * 32}, ["checkpoint"]),
        (None, []),
    ],
)
def test_models_that_it_was_made_from_are_ancestors(bundle: Bundle, recipe: Any, names: list[str]) -> None:
    manifest = replace(bundle.manifest, training={"recipe": recipe}, data={})
    model = bill_of_materials(manifest, Licences())["metadata"]["component"]
    ancestors = model.get("pedigree", {}).get("ancestors", [])
    assert [each["name"] for each in ancestors] == names
    assert all(each["licenses"] == [{"license": {"name": UNKNOWN}}] for each in ancestors)
    assert "quantitativeAnalysis" not in model["modelCard"]


def test_the_same_bundle_gives_the_same_bytes(copied: Bundle, tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert call("bundle", "sbom", copied.path, "--out", first).exit_code == 0
    assert open_bundle(copied.path).sha256() == copied.sha256(), "a file elsewhere leaves the bundle as it is"
    assert call("bundle", "sbom", copied.path).exit_code == 0
    assert call("bundle", "sbom", copied.path, "-o", second).exit_code == 0
    assert first.read_bytes() == second.read_bytes() == (copied.path / SBOM).read_bytes()
    assert "exists; choose another name" in failure("bundle", "sbom", copied.path, "--out", first)
    digest = open_bundle(copied.path).sha256()
    assert call("bundle", "sbom", copied.path).exit_code == 0
    assert open_bundle(copied.path).sha256() == digest


def test_a_change_removes_it(copied: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    assert call("bundle", "sbom", copied.path).exit_code == 0
    serial = bill_in(copied.path)["serialNumber"]
    with changing(copied.path) as staging:
        staging.file("trust.json").write_text("{}")
        staging.add("trust.json", "trust")
        staging.finish(open_bundle(copied.path).manifest)
    assert not open_bundle(copied.path).has("sbom")
    assert not (copied.path / SBOM).exists()
    assert "sbom.cdx.json listed other artifacts and is removed; make it again: vegrt bundle sbom" in caplog.text
    assert call("bundle", "sbom", copied.path).exit_code == 0
    assert bill_in(copied.path)["serialNumber"] != serial


def test_a_signature_covers_it_and_it_travels(copied: Bundle, tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    sign(copied.path, keys.private)
    assert answer("bundle", "sbom", copied.path)["signature_is_void"] is True
    assert "was changed after it was signed" in failure("verify", copied.path, "--public-key", keys.public)
    sign(copied.path, keys.private)
    pack(copied.path, tmp_path / "packed.zip")
    out = unpack(tmp_path / "packed.zip", tmp_path / "out").path
    assert open_signed(out, keys.public).has("sbom")
    (out / SBOM).write_text((out / SBOM).read_text().replace("NOASSERTION", "Apache-2.0!"))
    assert "sbom.cdx.json: damaged" in failure("verify", out, "--public-key", keys.public)


def test_a_missing_package_is_one_line_and_changes_nothing(copied: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyclonedx", None)
    assert failure("bundle", "sbom", copied.path).endswith("pip install 'vegrt[supply-chain]'")
    assert open_bundle(copied.path).sha256() == copied.sha256()
