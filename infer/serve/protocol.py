"""Parses requests and renders responses of the Open Inference Protocol v2, with its binary data and classification extensions.

Bytes in, bytes out: the only part of HTTP used here is the header with the length of the JSON, which binary tensors follow.
Specified by kserve/open-inference-protocol (REST) and Triton's protocol extensions; compatible with tritonclient.http.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.infer.serve.refusal import Refusal

INPUT, OUTPUT = "images", "logits"
VERSION = "1"
EXTENSIONS = ["binary_tensor_data", "classification"]
_NOT_IN_URLS = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One inference request.

    images: (N, H, W, 3) uint8. id: returned unchanged. binary: whether the output follows the JSON as bytes.
    classes: number of top classes to return, in the format of Triton's classification extension; 0 for logits.
    """

    images: NDArray[np.uint8]
    id: str | None = None
    binary: bool = False
    classes: int = 0


def model_name(name: str) -> str:
    """Return a bundle's name in the form that URLs use: other characters become `_`."""
    return _NOT_IN_URLS.sub("_", name).strip(".") or "model"


def model_metadata(name: str, runtime: str, image: tuple[int, int, int], num_classes: int) -> dict[str, Any]:
    """Return the metadata of the model: one input, one output, any batch size. image: shape of a prepared one, (H, W, 3)."""
    return {
        "name": name,
        "versions": [VERSION],
        "platform": f"vegrt_{runtime}",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *image]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, num_classes]}],
    }


def parse_infer(body: bytes, header_length: str | None, image: tuple[int, int, int]) -> InferRequest:
    """Return the request in `body`. image: shape of a prepared one, (H, W, 3).

    header_length: value of Inference-Header-Content-Length, the length of the JSON in bytes; None if the whole body is JSON.
    Raises Refusal (400) with a one-line reason for an invalid request.
    """
    length = _header_length(header_length, len(body))
    request = _object(_loads(body[:length]), "request")
    tensor = _only(request.get("inputs"), "inputs", INPUT)
    shape = _shape(tensor, image)
    binary_size = _parameters(tensor).get("binary_data_size")
    tail = memoryview(body)[length:]
    if binary_size is None:
        if len(tail):
            raise Refusal(f"input {INPUT!r}: {len(tail)} bytes follow the JSON, but there is no binary_data_size")
        pixels = _from_json(tensor.get("data"), math.prod(shape))
    else:
        if "data" in tensor:
            raise Refusal(f"input {INPUT!r}: both data and binary_data_size; expected one of them")
        pixels = _from_bytes(tail, binary_size, math.prod(shape))
    binary, classes = _output(request)
    name = request.get("id")
    if name is not None and not isinstance(name, str):
        raise Refusal("id: expected a string")
    return InferRequest(pixels.reshape(shape), name, binary, classes)


def render_infer(
    request: InferRequest, logits: NDArray[np.float32], name: str, classes: Sequence[str]
) -> tuple[bytes, int | None]:
    """Return the response body, and the length of its JSON in bytes if binary data follows it, else None.

    logits: (N, K) float32. name: the model's name. classes: the K class names.
    """
    if request.classes:
        values, datatype = _classified(logits, classes, request.classes), "BYTES"
        shape = [len(values), len(values[0])]
        data: Any = [text for row in values for text in row]
        raw = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in data)
    else:
        datatype, shape = "FP32", list(logits.shape)
        data, raw = logits.ravel(), b""
    output: dict[str, Any] = {"name": OUTPUT, "datatype": datatype, "shape": shape}
    if request.binary:
        raw = raw or logits.astype("<f4", copy=False).tobytes()
        output["parameters"] = {"binary_data_size": len(raw)}
    else:
        raw = b""
        output["data"] = data if request.classes else data.tolist()
    answer: dict[str, Any] = {"model_name": name, "model_version": VERSION, "outputs": [output]}
    if request.id is not None:
        answer["id"] = request.id
    head = json.dumps(answer, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")
    return head + raw, len(head) if request.binary else None


def _header_length(text: str | None, total: int) -> int:
    if text is None:
        return total
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= total):
        raise Refusal(
            f"Inference-Header-Content-Length: {text[:20]!r}; expected at most {total}, the size of the body in bytes"
        )
    return int(text)


def _loads(text: bytes) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise Refusal("JSON: nested too deeply") from error
    except ValueError as error:  # also raised for invalid UTF-8 and for numbers with thousands of digits
        raise Refusal(f"not JSON ({str(error)[:120]})") from error


def _object(value: Any, subject: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refusal(f"{subject}: expected a JSON object")
    return value


def _only(values: Any, subject: str, name: str) -> dict[str, Any]:
    if not isinstance(values, list) or len(values) != 1:
        raise Refusal(f"{subject}: expected a list with one tensor, {name!r}")
    tensor = _object(values[0], subject)
    if tensor.get("name") != name:
        raise Refusal(f"{subject}: unknown tensor {str(tensor.get('name'))[:40]!r}; expected {name!r}")
    return tensor


def _parameters(value: dict[str, Any]) -> dict[str, Any]:
    parameters = _object(value.get("parameters", {}), "parameters")
    if "shared_memory_region" in parameters:
        raise Refusal("shared_memory_region: not supported; send the tensor as binary data")
    return parameters


def _shape(tensor: dict[str, Any], image: tuple[int, int, int]) -> tuple[int, ...]:
    if tensor.get("datatype") != "UINT8":
        raise Refusal(f"input {INPUT!r}: datatype {str(tensor.get('datatype'))[:20]}; expected UINT8")
    shape = tensor.get("shape")
    numbers = shape if isinstance(shape, list) and all(type(number) is int for number in shape) else []
    if len(numbers) != 4 or numbers[0] < 1 or numbers[1:] != [*image]:
        height, width, channels = image
        expected = f"[N, {height}, {width}, {channels}] with N >= 1"
        raise Refusal(f"input {INPUT!r}: shape {str(shape)[:40]}; expected {expected}")
    return tuple(numbers)


def _from_bytes(tail: memoryview, binary_size: Any, count: int) -> NDArray[np.uint8]:
    if type(binary_size) is not int or binary_size != len(tail) or len(tail) != count:
        raise Refusal(
            f"input {INPUT!r}: binary_data_size {str(binary_size)[:20]}, {len(tail)} bytes follow; expected {count} by its shape"
        )
    return np.frombuffer(tail, np.uint8)


def _from_json(data: Any, count: int) -> NDArray[np.uint8]:
    """Return `data`, flat or nested like the shape, as (count,) uint8."""
    invalid = Refusal(f"input {INPUT!r}: invalid data; expected {count} integers from 0 to 255")
    if not isinstance(data, list):
        raise invalid
    try:
        values = np.asarray(data)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # ragged, or deeper than NumPy supports
        raise invalid from error
    if values.size != count or values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
        raise invalid
    return values.astype(np.uint8).ravel()


def _output(request: dict[str, Any]) -> tuple[bool, int]:
    """Return whether the output is requested as binary data, and the number of top classes; 0 for the logits."""
    binary = _parameters(request).get("binary_data_output", False)
    outputs = request.get("outputs")
    classes = 0
    if outputs is not None and outputs != []:
        parameters = _parameters(_only(outputs, "outputs", OUTPUT))
        binary = parameters.get("binary_data", binary)
        classes = parameters.get("classification", 0)
    if not isinstance(binary, bool):
        raise Refusal("binary_data: expected true or false")
    if type(classes) is not int or classes < 0:
        raise Refusal("classification: expected the number of top classes; 0 for logits")
    return binary, classes


def _classified(logits: NDArray[np.float32], classes: Sequence[str], count: int) -> list[list[str]]:
    """Return the `count` largest logits of each row as `value:index:class`, best first."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    return [
        [f"{row[index]:.6f}:{index}:{classes[index]}" for index in best]
        for row, best in zip(logits, order.tolist(), strict=True)
    ]
