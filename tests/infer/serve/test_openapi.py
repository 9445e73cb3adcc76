"""The OpenAPI document: valid, complete, and true of what the service answers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator
from numpy.typing import NDArray
from starlette.routing import Route

from vegrt.infer.serve.app import build_app
from vegrt.infer.serve.origins import Hosts

Running = Any  # conftest.Running, which cannot be imported
JSON = "application/json"
DOCS = Path(__file__).parents[3] / "docs/serving.md"


@pytest.fixture(scope="module")
def document(shared: Running) -> Any:
    return httpx.get(f"{shared.url}/openapi.json").json()


def operations(document: Any) -> list[tuple[str, str, Any]]:
    return [(path, method, words) for path, item in document["paths"].items() for method, words in item.items()]


def check(document: Any, reply: httpx.Response, path: str, method: str = "get") -> None:
    """Raise unless an answer is what the document says of its path and status."""
    media_types = document["paths"][path][method]["responses"][str(reply.status_code)]["content"]
    kind = reply.headers["content-type"].partition(";")[0]
    schema = media_types[kind]["schema"] | {"components": document["components"]}
    Draft202012Validator(schema).validate(reply.json() if kind == JSON else reply.text)


def test_it_is_openapi_and_its_schemas_are_json_schema(document: Any) -> None:
    OpenAPI.model_validate(document)
    assert document["openapi"] == "3.1.0"
    schemas = list(document["components"]["schemas"].values())
    for _, _, words in operations(document):
        bodies = [words.get("requestBody", {"content": {}}), *words["responses"].values()]
        schemas += [content["schema"] for body in bodies for content in body["content"].values()]
        schemas += [parameter["schema"] for parameter in words.get("parameters", ())]
        assert words["responses"]["200"]
    for schema in schemas:
        assert schema  # {} says nothing
        Draft202012Validator.check_schema(schema)
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert used == set(document["components"]["schemas"])


def test_it_has_every_route_and_no_other(document: Any, shared: Running) -> None:
    app = build_app(shared.service, Hosts.of("127.0.0.1", ()))
    served = {
        (route.path.format(name="small", version="1"), method.lower())
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert {(path, method) for path, method, _ in operations(document)} == served - {("/openapi.json", "get")}


def test_what_is_sent_and_errors_are_described(document: Any) -> None:
    posts = {path: words for path, method, words in operations(document) if method == "post"}
    assert set(posts["/v1/predict"]["requestBody"]["content"]) == {
        "image/*",
        "application/octet-stream",
        "multipart/form-data",
    }
    assert set(posts["/v2/models/small/infer"]["requestBody"]["content"]) == {JSON, "application/octet-stream"}
    for path, _, words in operations(document):
        assert not [parameter for parameter in words.get("parameters", ()) if parameter["name"] == "version"], path
        for status, answer in words["responses"].items():
            if status != "200" and not path.endswith("ready"):
                assert answer["content"][JSON]["schema"] == {"$ref": "#/components/schemas/Error"}


def test_answers_are_as_described(document: Any, shared: Running, files: list[Path], pixels: NDArray[Any]) -> None:
    model = "/v2/models/small"
    for path, method, words in operations(document):
        if method == "get":
            check(document, httpx.get(shared.url + path), path)
            assert set(words["responses"]) >= {"200"}
    photo = files[0].read_bytes()
    for words in ({"content": photo}, {"files": {"file": photo}}, {"content": photo, "params": {"top_k": 2}}):
        reply = httpx.post(f"{shared.url}/v1/predict", **words)
        assert reply.status_code == 200
        check(document, reply, "/v1/predict", "post")
    assert len(reply.json()["top"]) == 2
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 48, 48, 3], "data": pixels[0].tolist()}
    wanted = [{"name": "logits", "parameters": {"classification": 2}}]
    for body in ({"inputs": [tensor]}, {"inputs": [tensor], "id": "a", "outputs": wanted}):
        schema = document["components"]["schemas"]["InferRequest"] | {"components": document["components"]}
        Draft202012Validator(schema).validate(body)
        reply = httpx.post(f"{shared.url}{model}/versions/1/infer", json=body)
        assert reply.status_code == 200
        check(document, reply, f"{model}/infer", "post")
    for reply, path in (
        (httpx.post(f"{shared.url}/v1/predict", content=b"text"), "/v1/predict"),
        (httpx.post(f"{shared.url}/v1/predict?topk=2", content=photo), "/v1/predict"),
        (httpx.post(f"{shared.url}{model}/infer", content=b"{}"), f"{model}/infer"),
    ):
        assert reply.status_code in (400, 422)
        check(document, reply, path, "post")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_of_the_docs_work(document: Any, shared: Running, files: list[Path], tmp_path: Path) -> None:
    shutil.copy(files[0], tmp_path / "photo.jpg")
    commands = [line.split() for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("    curl ")]
    assert len(commands) >= 3
    for words in commands:
        words = [word.strip("'").replace("http://127.0.0.1:8000", shared.url) for word in words]
        done = subprocess.run([*words, "--silent", "--fail"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (words, done.stderr)
        assert json.loads(done.stdout)["label"]
