"""The Open Inference Protocol's bytes: what is right is read exactly, whatever else gets one line and 400, never more."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vegrt.infer.serve.protocol import InferRequest, model_name, parse_infer, render_infer
from vegrt.infer.serve.refusal import Refusal

SIZE = 2
SHAPE = (SIZE, SIZE, 3)
PIXELS = np.arange(24, dtype=np.uint8).reshape(2, SIZE, SIZE, 3)
LOGITS = np.array([[0.1, 2.5, -1.0], [3.0, 3.0, 0.0]], np.float32)


def tensor(**changes: Any) -> dict[str, Any]:
    whole = {"name": "images", "datatype": "UINT8", "shape": [2, SIZE, SIZE, 3], "data": PIXELS.ravel().tolist()}
    return {key: value for key, value in (whole | changes).items() if value is not None}


def parse(request: object, tail: bytes = b"", header: str | None = None) -> InferRequest:
    head = json.dumps(request).encode()
    return parse_infer(head + tail, header if header is not None else str(len(head)) if tail else None, SHAPE)


def refused(request: object, tail: bytes = b"", header: str | None = None) -> str:
    with pytest.raises(Refusal) as caught:
        parse(request, tail, header)
    assert caught.value.status == 400
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_json_data_may_be_flat_or_nested() -> None:
    for data in (PIXELS.ravel().tolist(), PIXELS.tolist()):
        request = parse({"inputs": [tensor(data=data)]})
        np.testing.assert_array_equal(request.images, PIXELS)
        assert (request.id, request.binary, request.classes) == (None, False, 0)


def test_binary_data_follows_the_json() -> None:
    asked = {
        "id": "ä7",
        "inputs": [tensor(data=None, parameters={"binary_data_size": 24})],
        "outputs": [{"name": "logits", "parameters": {"binary_data": True, "classification": 2}}],
    }
    request = parse(asked, PIXELS.tobytes())
    np.testing.assert_array_equal(request.images, PIXELS)
    assert (request.id, request.binary, request.classes) == ("ä7", True, 2)
    assert parse({"inputs": [tensor()], "parameters": {"binary_data_output": True}}).binary


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"datatype": "FP32"}, "datatype FP32; expected UINT8"),
        ({"name": "input"}, "unknown tensor 'input'"),
        ({"shape": [2, SIZE, 3, SIZE]}, r"expected [N, 2, 2, 3]"),
        ({"shape": [0, SIZE, SIZE, 3]}, "N >= 1"),
        ({"shape": [True, SIZE, SIZE, 3]}, "N >= 1"),
        ({"shape": [10**30, SIZE, SIZE, 3]}, "integers from 0 to 255"),
        ({"data": [0] * 23}, "24 integers"),
        ({"data": [256] + [0] * 23}, "from 0 to 255"),
        ({"data": [-1] + [0] * 23}, "from 0 to 255"),
        ({"data": [0.5] + [0] * 23}, "integers from 0"),
        ({"data": [[0], [1, 2]]}, "integers from 0"),
        ({"data": "0123"}, "integers from 0"),
        ({"data": [10**40] + [0] * 23}, "integers from 0"),
        ({"parameters": {"binary_data_size": 24}}, "both data and binary_data_size"),
        ({"data": None, "parameters": {"binary_data_size": 24}}, "0 bytes follow"),
        ({"data": None, "parameters": {"shared_memory_region": "x"}}, "shared_memory_region: not supported"),
        ({"parameters": []}, "parameters: expected a JSON object"),
    ],
)
def test_a_wrong_tensor_is_named_with_what_was_expected(changes: dict[str, Any], reason: str) -> None:
    assert reason in refused({"inputs": [tensor(**changes)]})


def test_a_wrong_request_is_named_with_what_was_expected() -> None:
    assert "expected a JSON object" in refused([1])
    assert "a list with one tensor" in refused({})
    assert "a list with one tensor" in refused({"inputs": [tensor(), tensor()]})
    assert "id: expected a string" in refused({"id": 7, "inputs": [tensor()]})
    assert "unknown tensor 'labels'" in refused({"inputs": [tensor()], "outputs": [{"name": "labels"}]})
    wrong = [{"name": "logits", "parameters": {"classification": -1}}]
    assert "classification" in refused({"inputs": [tensor()], "outputs": wrong})
    assert "bytes follow the JSON" in refused({"inputs": [tensor()]}, b"more")
    assert "Header-Content-Length" in refused({"inputs": [tensor()]}, header="99999")
    assert "Header-Content-Length" in refused({"inputs": [tensor()]}, header="-1")
    assert "23 bytes follow; expected 24 by its shape" in refused(
        {"inputs": [tensor(data=None, parameters={"binary_data_size": 24})]}, bytes(23)
    )
    for body, reason in ((b"{", "not JSON"), (b"\xff\xfe", "not JSON"), (b"[" * 100_000, "nested too deeply")):
        with pytest.raises(Refusal, match=reason):
            parse_infer(body, None, SHAPE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "data", "datatype", "parameters", "inputs", "outputs", "id"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["inputs", "outputs", "id", "parameters"]), JSON)
    | st.builds(
        lambda key, value, tail: {"inputs": [tensor() | {key: value}], "outputs": tail},
        st.sampled_from(["name", "datatype", "shape", "data", "parameters"]),
        JSON,
        JSON,
    ),
    st.binary(max_size=30),
    st.none() | st.text(max_size=5) | st.integers(-1, 60).map(str),
)
def test_no_request_gets_more_than_a_refusal(request_: dict[str, Any], tail: bytes, header: str | None) -> None:
    try:
        parsed = parse_infer(json.dumps(request_).encode() + tail, header, SHAPE)
    except Refusal:
        pass
    else:
        render_infer(parsed, np.zeros((len(parsed.images), 3), np.float32), "m", ("a", "b", "c"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.none() | st.integers(0, 200).map(str))
def test_no_bytes_get_more_than_a_refusal(body: bytes, header: str | None) -> None:
    with pytest.raises(Refusal):
        parse_infer(body, header, SHAPE)


def render(**words: Any) -> tuple[dict[str, Any], bytes]:
    request = InferRequest(PIXELS, **words)
    body, json_length = render_infer(request, LOGITS, "veg", ("Beet", "Cress", "Eggplant"))
    length = len(body) if json_length is None else json_length
    return json.loads(body[:length]), body[length:]


def test_an_answer_gives_back_every_bit_of_the_logits() -> None:
    answer, tail = render(id="7")
    assert not tail
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "veg", "1")
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("logits", "FP32", [2, 3])
    np.testing.assert_array_equal(np.array(output["data"], np.float32), LOGITS.ravel())
    answer, tail = render(binary=True)
    assert "id" not in answer
    assert answer["outputs"][0]["parameters"] == {"binary_data_size": 24}
    np.testing.assert_array_equal(np.frombuffer(tail, "<f4"), LOGITS.ravel())


def test_classification_names_the_largest_logits() -> None:
    (output,) = render(classes=2)[0]["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    assert output["data"] == ["2.500000:1:Cress", "0.100000:0:Beet", "3.000000:0:Beet", "3.000000:1:Cress"]
    answer, tail = render(classes=1, binary=True)
    texts = [b"2.500000:1:Cress", b"3.000000:0:Beet"]
    assert tail == b"".join(struct.pack("<I", len(text)) + text for text in texts)
    assert answer["outputs"][0]["parameters"] == {"binary_data_size": len(tail)}
    assert render(classes=9)[0]["outputs"][0]["shape"] == [2, 3]


def test_a_bundle_name_becomes_one_segment_of_a_url() -> None:
    assert model_name("resnet18") == "resnet18"
    assert model_name("my model/2 ä") == "my_model_2_"
    assert model_name("..") == "model"
