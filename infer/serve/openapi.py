"""The OpenAPI 3.1 document of a service: bodies, answers and errors."""

from __future__ import annotations

from typing import Any

from vegrt.infer.api import TOP_K
from vegrt.infer.serve.protocol import EXTENSIONS, INPUT, OUTPUT, VERSION
from vegrt.version import __version__

_JSON, _BYTES = "application/json", "application/octet-stream"
_BINARY = {"type": "string", "format": "binary"}
_ERRORS = {
    "400": "The request is malformed, or a parameter is unknown.",
    "403": "The request comes from a web page of another origin.",
    "404": "Unknown model.",
    "408": "The body did not arrive in time.",
    "413": "More bytes, pixels or images than the service accepts.",
    "415": "The body is compressed.",
    "422": "Not a photo, or a damaged one.",
    "429": "This client has its share of the service; try again after Retry-After seconds.",
    "500": "The runner failed; see the service's log.",
    "503": "The service is full; try again after Retry-After seconds.",
    "504": "The runner did not answer in time.",
}


def document(name: str, image: tuple[int, int, int], classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the OpenAPI document. name: the model's name in URLs. image: shape of a prepared one, (H, W, 3)."""
    model = f"/v2/models/{name}"
    paths: dict[str, Any] = {
        "/": {
            "get": _operation("A web page for photos.", {"200": _answer("The page.", "text/html", {"type": "string"})})
        },
        "/v1/predict": {"post": _predict(classes)},
        "/v2": _get("The server.", "Server"),
        "/v2/health/live": _get("Whether the process is alive.", "Live"),
        "/v2/health/ready": _get("Whether requests are accepted.", "Ready", "503"),
    }
    for path in (model, f"{model}/versions/{VERSION}"):
        paths[path] = _get("The model's inputs and outputs.", "Model", "400")
        paths[f"{path}/ready"] = _get("Whether the model accepts requests.", "ModelReady", "400", "503")
        paths[f"{path}/infer"] = {"post": _infer()}
    metrics = _operation("Prometheus metrics.", {"200": _answer("The metrics.", "text/plain", {"type": "string"})})
    paths["/metrics"] = {"get": metrics}
    info = {"title": "vegrt", "version": __version__, "summary": f"{name}: {len(classes)} classes"}
    return {
        "openapi": "3.1.0",
        "info": info,
        "paths": paths,
        "components": {"schemas": _schemas(name, image, len(classes))},
    }


def _predict(classes: tuple[str, ...]) -> dict[str, Any]:
    top_k = {
        "name": "top_k",
        "in": "query",
        "description": "Number of most probable classes to return.",
        "schema": {"type": "integer", "minimum": 1, "default": TOP_K},
        "example": min(2, len(classes)),
    }
    form = {
        "type": "object",
        "properties": {"file": _BINARY | {"description": "The photo."}},
        "required": ["file"],
        "additionalProperties": False,
    }
    content = {"image/*": {"schema": _BINARY}, _BYTES: {"schema": _BINARY}, "multipart/form-data": {"schema": form}}
    body = {"description": "A photo: its bytes, or a form with one file.", "required": True, "content": content}
    answers = {"200": _answer("The prediction.", _JSON, _ref("Prediction"))} | _errors(*(_ERRORS.keys() - {"404"}))
    return _operation("Classify a photo.", answers) | {"parameters": [top_k], "requestBody": body}


def _infer() -> dict[str, Any]:
    length = {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "description": "Length of the JSON in bytes, if binary tensor data follows it.",
        "schema": {"type": "integer", "minimum": 0},
    }
    body = {
        "description": "Open Inference Protocol: JSON, or JSON and then the tensor's bytes (binary tensor data extension).",
        "required": True,
        "content": {_JSON: {"schema": _ref("InferRequest")}, _BYTES: {"schema": _BINARY}},
    }
    answer = _answer("Logits.", _JSON, _ref("InferResponse"))
    answer["content"][_BYTES] = {"schema": _BINARY}
    answers = {"200": answer} | _errors(*(_ERRORS.keys() - {"422"}))
    return _operation("Logits of prepared images.", answers) | {"parameters": [length], "requestBody": body}


def _get(summary: str, schema: str, *errors: str) -> dict[str, Any]:
    answers = {"200": _answer(summary, _JSON, _ref(schema))} | _errors(*errors)
    if "503" in errors:
        answers["503"] = _answer("Not ready.", _JSON, _ref(schema))
    return {"get": _operation(summary, answers)}


def _operation(summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": responses}


def _answer(description: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _errors(*codes: str) -> dict[str, Any]:
    return {code: _answer(_ERRORS[code], _JSON, _ref("Error")) for code in sorted(codes)}


def _ref(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _schemas(name: str, image: tuple[int, int, int], classes: int) -> dict[str, Any]:
    text, flag, number = {"type": "string"}, {"type": "boolean"}, {"type": "number"}
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    index = {"type": "integer", "minimum": 0, "maximum": classes - 1}
    score = _object(label=text, probability=probability, index=index)
    shape = {"prefixItems": [{"type": "integer", "minimum": 1}, *({"const": side} for side in image)]}
    pixels = {"type": "array", "description": "Integers from 0 to 255, flat or nested like the shape."}
    parameters = {
        "type": "object",
        "description": "Parameters of the protocol's extensions: binary_data_size, binary_data, classification.",
    }
    tensor = _object(
        name={"const": INPUT},
        datatype={"const": "UINT8"},
        shape={"type": "array", "minItems": 4, "maxItems": 4} | shape,
    )
    tensor["properties"] |= {"data": pixels, "parameters": parameters}
    requested = _object(name={"const": OUTPUT})
    requested["properties"]["parameters"] = parameters
    request = _object(inputs=_list(tensor) | {"minItems": 1, "maxItems": 1})
    request["properties"] |= {"id": text, "outputs": _list(requested) | {"maxItems": 1}, "parameters": parameters}
    output = _object(name={"const": OUTPUT}, datatype={"enum": ["FP32", "BYTES"]}, shape=_list({"type": "integer"}))
    output["properties"] |= {"data": {"type": "array"}, "parameters": parameters}
    response = _object(model_name={"const": name}, model_version={"const": VERSION}, outputs=_list(output))
    response["properties"]["id"] = text
    tensor_metadata = _object(name=text, datatype=text, shape=_list({"type": "integer"}))
    prediction = _object(label=text, probability=probability, top=_list(score), bundle=text, variant=text, ms=number)
    prediction["properties"] |= {  # only with --reject
        "decision": {"enum": ["accept", "unsure", "foreign"]},
        "set": {"type": ["array", "null"], "items": text},
        "foreign_score": number,
    }
    return {
        "Error": _object(error=text | {"description": "One line: the value, what was expected, and the cure."}),
        "Prediction": prediction,
        "Server": _object(name=text, version=text, extensions=_list({"enum": EXTENSIONS})),
        "Live": _object(live=flag),
        "Ready": _object(ready=flag),
        "Model": _object(
            name={"const": name},
            versions=_list({"const": VERSION}),
            platform=text,
            inputs=_list(tensor_metadata),
            outputs=_list(tensor_metadata),
        ),
        "ModelReady": _object(name={"const": name}, ready=flag),
        "InferRequest": request,
        "InferResponse": response,
    }
