"""The InferenceService, checked against the fields of KServe's own definition, and its probes against the real service."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from starlette.testclient import TestClient

from tests.command_line import answer, call, failure
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.export.deploy.kserve import service_name
from vegrt.infer.api import load
from vegrt.infer.serve.app import Service, build_app
from vegrt.infer.serve.origins import Hosts
from vegrt.infer.serve.settings import ServerSettings

SCHEMA = json.loads(Path(__file__).with_name("kserve_schema.json").read_text(encoding="utf-8"))


def faults(service: dict[str, Any]) -> list[str]:
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(service)]


def service_of(out: Path) -> dict[str, Any]:
    service: dict[str, Any] = yaml.safe_load((out / "inferenceservice.yaml").read_text(encoding="utf-8"))
    return service


@pytest.fixture
def service(bundle: Bundle, tmp_path: Path) -> dict[str, Any]:
    assert call("deploy", "kserve", bundle.path, tmp_path / "out").exit_code == 0
    return service_of(tmp_path / "out")


def container_of(service: dict[str, Any]) -> dict[str, Any]:
    (container,) = service["spec"]["predictor"]["containers"]
    return dict(container)


def test_the_schema_is_a_schema_and_finds_faults(service: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert faults(service) == []
    for path, value in (
        (("spec", "predictor", "containers", 0, "readinesProbe"), {}),
        (("spec", "predictor", "containers", 0, "ports", 0, "containerPort"), "8000"),
        (("spec", "predictor", "containers", 0, "resources", "limits", "memory"), "2 GiB"),
        (("spec", "predictor", "protocolVersion"), "v2"),
        (("metadata", "name"), "Small"),
    ):
        changed = copy.deepcopy(service)
        place: Any = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert len(faults(changed)) == 1, path


def test_the_container_runs_the_image_of_deploy_docker(service: dict[str, Any], bundle: Bundle, tmp_path: Path) -> None:
    container = container_of(service)
    assert container["name"] == "kserve-container"
    tag = answer("deploy", "docker", bundle.path, tmp_path / "image")["command"].split()[3]
    assert container["image"] == tag == f"small:{bundle.sha256()[:12]}"
    assert service["metadata"]["annotations"]["vegrt/bundle-sha256"] == bundle.sha256()
    assert {"name": "PROTOCOL", "value": "v2"} in container["env"]
    assert container["securityContext"]["runAsUser"] == 10001
    assert container["ports"][0]["containerPort"] == 8000


def test_the_service_answers_the_probes(service: dict[str, Any], bundle: Bundle) -> None:
    container = container_of(service)
    model = load(bundle.path, variant="fp32", runtime="onnxruntime")
    with TestClient(build_app(Service(model, ServerSettings()), Hosts.of("0.0.0.0", ()))) as client:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            http = container[probe]["httpGet"]
            assert http["port"] == container["ports"][0]["containerPort"]
            assert client.get(http["path"]).status_code == 200, probe
        assert client.get(f"/v2/models/{bundle.manifest.name}").status_code == 200


def test_options_become_fields(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--image", "registry.local:5000/team/small@sha256:0a", "--cpus", 4, "--memory-mib", 900, "--gpu")
    shown = answer("deploy", "kserve", bundle.path, out, *words)
    assert shown["files"] == ["README.md", "inferenceservice.yaml", "kserve.json"]
    assert faults(service_of(out)) == []
    container = container_of(service_of(out))
    assert container["image"] == "registry.local:5000/team/small@sha256:0a"
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "900Mi", "nvidia.com/gpu": "1"}
    assert container["resources"]["requests"] == {"cpu": "4", "memory": "900Mi"}
    assert "vegrt deploy docker BUNDLE image --gpu" in (out / "README.md").read_text()
    assert "not the name of an image" in failure("deploy", "kserve", bundle.path, tmp_path / "no", "--image", 'a" b')
    assert "replace it with --overwrite" in failure("deploy", "kserve", bundle.path, out)
    assert not (tmp_path / "no").exists()


def test_memory_grows_with_the_cores_and_the_model(bundle: Bundle, tmp_path: Path) -> None:
    sizes = []
    for cpus in (1, 2, 8):
        assert call("deploy", "kserve", bundle.path, tmp_path / str(cpus), "--cpus", cpus).exit_code == 0
        sizes.append(int(container_of(service_of(tmp_path / str(cpus)))["resources"]["limits"]["memory"][:-2]))
    assert sizes[0] == sizes[1], "two photos at least are decoded at the same time"
    assert sizes[2] - sizes[1] == pytest.approx(6 * 454, abs=130)


@pytest.mark.parametrize(
    ("name", "label"), [("7B", "model-7b"), ("x" * 60, "x" * 40), ("é", "model"), ("a" * 39 + "_b", "a" * 39)]
)
def test_any_name_of_a_bundle_becomes_a_dns_label(name: str, label: str) -> None:
    assert service_name(name) == label


def test_a_name_that_yaml_would_misread_is_harmless(copied: Bundle, tmp_path: Path) -> None:
    with changing(copied.path) as staging:
        staging.finish(replace(copied.manifest, name='no: "y"\n# {x}'))
    assert call("deploy", "kserve", copied.path, tmp_path / "out").exit_code == 0
    assert faults(service_of(tmp_path / "out")) == []
    assert service_of(tmp_path / "out")["metadata"]["name"] == "no-y-x"
    assert open_bundle(copied.path).manifest.name == 'no: "y"\n# {x}'
