"""The service over HTTP: answers equal to the runner's own, limits, back-pressure, and the real Triton client."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http
from numpy.typing import NDArray
from PIL import Image

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.infer.api import Model, load
from vegrt.infer.runtimes.logits import softmax
from vegrt.infer.serve.settings import ServerSettings

Running = Any  # conftest.Running, which cannot be imported
Start = Callable[..., Running]
HTTP = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=32))  # for as long as the process lives


def metric(running: Running, line: str) -> float:
    (value,) = re.findall(rf"^{re.escape(line)} (\S+)$", HTTP.get(f"{running.url}/metrics").text, re.MULTILINE)
    return float(value)


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def predict(running: Running, body: bytes, **headers: str) -> httpx.Response:
    return HTTP.post(f"{running.url}/v1/predict", content=body, headers=headers)


def same_answer(answer: dict[str, Any], logits: NDArray[np.float32], model: Model) -> bool:
    """Return whether an answer is that of these logits; those of another photo differ by more than batching does."""
    want = softmax(logits[None])[0]
    probabilities = {score["index"]: score["probability"] for score in answer["top"]}
    names = all(score["label"] == model.classes[score["index"]] for score in answer["top"])
    near = all(abs(want[index] - probability) < 1e-5 for index, probability in probabilities.items())
    return names and near and len(probabilities) == len(want) and answer["label"] == model.classes[int(want.argmax())]


def test_32_clients_get_the_answers_of_their_own_photos(
    shared: Running, model: Model, files: list[Path], expected: NDArray[np.float32]
) -> None:
    bodies = [path.read_bytes() for path in files]
    assert len({tuple(row.round(3)) for row in expected}) == len(files)  # so that a swapped answer would be seen
    numbers = [number % len(files) for number in range(180)]
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda n: predict(shared, bodies[n]), numbers))
    assert {reply.status_code for reply in replies} == {200}
    assert all(same_answer(reply.json(), expected[n], model) for reply, n in zip(replies, numbers, strict=True))
    assert metric(shared, "vegrt_batch_images_count") < metric(shared, "vegrt_images_total")  # some went together


def test_a_photo_may_come_as_bytes_of_any_type_or_in_a_form(
    shared: Running, model: Model, files: list[Path], expected: NDArray[np.float32]
) -> None:
    body = files[3].read_bytes()
    boundary = "x" * 20
    parts = f"--{boundary}\r\n"
    parts += (
        'content-disposition: form-data; name="file"; filename="../../etc/passwd"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    form = parts.encode() + body + f"\r\n--{boundary}--\r\n".encode()
    png = io.BytesIO()
    Image.open(files[3]).save(png, "PNG")
    for reply in (
        predict(shared, body, **{"content-type": "image/jpeg"}),
        predict(shared, body),
        predict(shared, form, **{"content-type": f"multipart/form-data; boundary={boundary}"}),
        HTTP.post(f"{shared.url}/v1/predict", files={"file": body}),
        predict(shared, png.getvalue(), **{"content-type": "application/octet-stream"}),
    ):
        assert reply.status_code == 200, reply.text
        answer = reply.json()
        assert same_answer(answer, expected[3], model)
        assert set(answer) == {"label", "probability", "top", "bundle", "variant", "ms"}
        assert (answer["bundle"], answer["variant"]) == ("small", "fp32")


def bomb() -> bytes:
    """A PNG whose header claims 50,000 x 50,000 pixels."""
    content = io.BytesIO()
    Image.new("L", (1, 1)).save(content, "PNG")
    header = bytearray(content.getvalue())
    header[16:24] = (50_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    return bytes(header)


def big(width: int, height: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (width, height)).save(content, "PNG")
    return content.getvalue()


def test_what_is_no_photo_is_refused_in_one_line(shared: Running, files: list[Path]) -> None:
    whole = files[0].read_bytes()
    form = {"content-type": "multipart/form-data; boundary=b"}
    field = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
    cases: list[tuple[bytes, dict[str, str], int, str]] = [
        (b"", {}, 422, "the body is empty"),
        (b"text", {"content-type": "image/jpeg"}, 422, "image: not a"),
        (whole[: len(whole) // 2], {}, 422, "damaged image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", {}, 422, "image: "),
        (bomb(), {}, 413, "pixels"),
        (big(8000, 8000), {}, 413, "8000x8000 pixels; expected at most 34,000,000"),
        (b"no form", form, 400, "malformed"),
        (field + whole, form, 400, "the closing boundary is missing"),
        (b"--b--\r\n", form, 400, "multipart form"),
        (field.replace(b"file", b"photo") + b"x\r\n--b--\r\n", form, 400, "1 fields ('photo'); expected one, 'file'"),
        (2 * (field + whole + b"\r\n") + b"--b--\r\n", form, 400, "2 fields ('file', 'file'); expected one"),
        (field + whole + b"\r\n" + field.replace(b"file", b"top_k") + b"2\r\n--b--\r\n", form, 400, "'top_k'"),
        (field + b"text\r\n--b--\r\n", form, 422, "image: not a"),
        (whole, {"content-type": "multipart/form-data"}, 400, "multipart form"),
        (whole, {"content-encoding": "gzip"}, 415, "content-encoding"),
    ]
    for body, headers, status, reason in cases:
        reply = predict(shared, body, **headers)
        assert (reply.status_code, reason in reply.json()["error"]) == (status, True), reply.text
        assert "\n" not in reply.json()["error"]
    assert shared.service.batcher.inside == 0


def test_a_body_is_cut_off_at_its_limit_whatever_it_claims(start: Start, files: list[Path]) -> None:
    running = start(max_bytes=50_000)
    assert predict(running, files[0].read_bytes()).status_code == 200
    reply = predict(running, bytes(60_000))
    assert (reply.status_code, reply.json()["error"]) == (413, "body: 60000 bytes; expected at most 50000")

    def chunks() -> Any:
        yield from (bytes(10_000) for _ in range(6))

    reply = HTTP.post(f"{running.url}/v1/predict", content=chunks())  # no Content-Length
    assert (reply.status_code, reply.json()["error"]) == (413, "body: more than 50000 bytes")
    assert predict(running, files[0].read_bytes()).status_code == 200


def test_a_body_that_does_not_come_and_a_client_that_leaves_give_their_places_back(
    start: Start, files: list[Path]
) -> None:
    running = start(body_timeout_s=0.2, queue=1)
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 60) as slow:
        slow.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")
    leaving = start(queue=1)
    host, port = leaving.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 60) as client:
        client.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        wait_for(lambda: bool(leaving.service.bodies.reading == 1))
    wait_for(lambda: bool(leaving.service.bodies.reading == 0))
    for service in (running, leaving):
        assert predict(service, files[0].read_bytes()).status_code == 200


def test_a_full_queue_answers_503_and_what_is_inside_is_answered(
    start: Start,
    held: tuple[Model, threading.Event],
    model: Model,
    files: list[Path],
    expected: NDArray[np.float32],
) -> None:
    slow, gate = held
    running = start(slow, queue=4, max_batch=2)
    with ThreadPoolExecutor(4) as pool:
        inside = [pool.submit(predict, running, files[n].read_bytes()) for n in range(4)]
        wait_for(lambda: bool(running.service.batcher.inside == 4))
        for _ in range(3):
            refused = predict(running, files[5].read_bytes())
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert "the queue is full (4 of 4 images)" in refused.json()["error"]
        assert HTTP.get(f"{running.url}/v2/health/live").status_code == 200  # the loop is free
        gate.set()
        replies = [future.result() for future in inside]
    assert all(same_answer(reply.json(), expected[n], model) for n, reply in enumerate(replies))
    assert predict(running, files[5].read_bytes()).status_code == 200
    assert metric(running, 'vegrt_requests_total{code="503",endpoint="predict"}') == 3
    assert metric(running, 'vegrt_requests_total{code="200",endpoint="predict"}') == 5
    assert metric(running, "vegrt_images_total") == 5
    assert metric(running, "vegrt_inside_images") == metric(running, "vegrt_queue_images") == 0


def test_an_answer_that_takes_too_long_is_504_and_gives_its_place_back(
    start: Start, held: tuple[Model, threading.Event], files: list[Path]
) -> None:
    slow, gate = held
    running = start(slow, queue=1, answer_timeout_s=0.1)
    assert predict(running, files[0].read_bytes()).status_code == 504
    assert running.service.batcher.inside == 0
    gate.set()


def test_the_triton_client_finds_the_model_and_gets_the_logits(
    shared: Running, model: Model, pixels: NDArray[np.uint8], expected: NDArray[np.float32]
) -> None:
    with tritonclient.http.InferenceServerClient(shared.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("small")
        assert client.is_model_ready("small", "1")
        assert not client.is_model_ready("resnet19")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        metadata = client.get_model_metadata("small")
        assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 48, 48, 3]}]
        assert metadata["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}]
        for count, binary_in, binary_out in ((1, True, True), (40, True, True), (2, False, True), (3, True, False)):
            tensor = tritonclient.http.InferInput("images", [count, 48, 48, 3], "UINT8")
            tensor.set_data_from_numpy(pixels[:count], binary_data=binary_in)
            wanted = [tritonclient.http.InferRequestedOutput("logits", binary_data=binary_out)]
            answer = client.infer("small", [tensor], request_id=f"r{count}", outputs=wanted)
            np.testing.assert_allclose(answer.as_numpy("logits"), expected[:count], rtol=1e-4, atol=1e-4)
            assert answer.get_response()["id"] == f"r{count}"
        tensor = tritonclient.http.InferInput("images", [1, 48, 48, 3], "UINT8")
        tensor.set_data_from_numpy(pixels[:1])
        default = client.infer("small", [tensor]).as_numpy("logits")  # asks for binary_data_output
        np.testing.assert_allclose(default, expected[:1], rtol=1e-4, atol=1e-4)
        wanted = [tritonclient.http.InferRequestedOutput("logits", class_count=2)]
        (best, _) = client.infer("small", [tensor], outputs=wanted).as_numpy("logits")[0]
        assert best.decode().endswith(f":{model.classes[int(expected[0].argmax())]}")
        with pytest.raises(tritonclient.http.InferenceServerException, match="unknown; expected 'small'"):
            client.infer("resnet19", [tensor])
        too_many = tritonclient.http.InferInput("images", [129, 48, 48, 3], "UINT8")
        too_many.set_data_from_numpy(np.zeros((129, 48, 48, 3), np.uint8))
        with pytest.raises(
            tritonclient.http.InferenceServerException, match="129 images in one request; expected at most 128"
        ):
            client.infer("small", [too_many])


def test_errors_are_json_with_a_fitting_status(shared: Running) -> None:
    def error(method: str, path: str, status: int, **words: Any) -> str:
        reply = HTTP.request(method, shared.url + path, **words)
        assert reply.status_code == status, reply.text
        message: str = reply.json()["error"]
        assert list(reply.json()) == ["error"]
        return message

    infer = "/v2/models/small/infer"
    assert "not JSON" in error("POST", infer, 400, content=b"{")
    assert "a list with one tensor" in error("POST", infer, 400, content=b"{}")
    long = json.dumps({"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1], "data": [0] * 99_999}]})
    assert "shape [1, 1]" in error("POST", infer, 400, content=long.encode())
    headers = {"Inference-Header-Content-Length": "zz"}
    assert "Header-Content-Length" in error("POST", infer, 400, content=b"{}", headers=headers)
    assert "unknown; expected 'small'" in error("GET", "/v2/models/other", 404)
    assert "unknown; expected 'small'" in error("GET", "/v2/models/small/versions/2/ready", 404)
    assert "Not Found" in error("GET", "/v2/models/../../etc/passwd", 404)
    assert "Not Found" in error("GET", "/%2e%2e/%2e%2e/etc/passwd", 404)
    assert "Method Not Allowed" in error("GET", "/v1/predict", 405)


def test_what_a_request_asks_for_is_done_or_refused(shared: Running, files: list[Path]) -> None:
    photo = files[0].read_bytes()
    tops = {count: HTTP.post(f"{shared.url}/v1/predict?top_k={count}", content=photo).json() for count in (1, 2, 99)}
    assert [len(answer["top"]) for answer in tops.values()] == [1, 2, 3]
    assert tops[1]["top"] == tops[2]["top"][:1]
    for query, reason in (
        ("top_k=0", "a number of classes"),
        ("top_k=two", "a number of classes"),
        ("top_k=", "a number of classes"),
        ("top_k=1&top_k=2", "repeated; expected at most one"),
        ("topk=2", "'topk': unknown; expected top_k"),
    ):
        reply = HTTP.post(f"{shared.url}/v1/predict?{query}", content=photo)
        assert (reply.status_code, reason in reply.json()["error"]) == (400, True), reply.text
    model = f"{shared.url}/v2/models/small"
    for reply in (
        HTTP.post(f"{model}/infer?classification=1", content=b"{}"),
        HTTP.get(f"{model}?version=2"),
        HTTP.get(f"{model}/ready?version=1"),
    ):
        assert (reply.status_code, "this path has no parameters" in reply.json()["error"]) == (400, True), reply.text


def test_head_is_get_without_a_body(shared: Running) -> None:
    for path in ("/", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/small", "/metrics", "/openapi.json"):
        head, get = HTTP.head(shared.url + path), HTTP.get(shared.url + path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_of_the_docs_is_read(shared: Running, files: list[Path], kind: str) -> None:
    content = io.BytesIO()
    Image.open(files[0]).save(content, kind)
    assert predict(shared, content.getvalue()).status_code == 200


def test_a_line_of_pixels_is_refused_when_it_would_be_resized_to_more_than_the_limit(start: Start) -> None:
    running = start(max_pixels=100_000)
    reply = predict(running, big(1, 3000))  # 48 x 144,000
    assert (reply.status_code, "at most 100,000" in reply.json()["error"]) == (413, True)


def test_nothing_is_loaded_from_elsewhere(shared: Running) -> None:
    page = HTTP.get(shared.url)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.findall(r'(?:src|href)="(?!data:)', page.text)
    assert "http" not in page.text
    assert HTTP.get(f"{shared.url}/docs").status_code == 404
    assert "/v1/predict" in HTTP.get(f"{shared.url}/openapi.json").json()["paths"]


def test_limits_that_make_no_sense_are_refused() -> None:
    nan, endless = float("nan"), float("inf")
    wrong: list[dict[str, Any]] = [{"max_batch": 0}, {"queue": 0}, {"min_rate": 0}, {"max_connections": 0}]
    wrong += [{"max_delay_ms": value} for value in (-1.0, nan, endless)]
    wrong += [{"header_timeout_s": value} for value in (0.0, nan, endless)]
    for words in wrong:
        with pytest.raises(VegrtError, match=r"expected .* or more|more than 0"):
            ServerSettings(**words)


def test_with_reject_the_answer_has_the_judgement_and_the_protocol_its_logits(
    start: Start, trusted: Bundle, files: list[Path], pixels: NDArray[np.uint8], expected: NDArray[np.float32]
) -> None:
    model = load(trusted.path, variant="fp32", runtime="onnxruntime", reject=True)
    running = start(model=model)
    for path in files[:3]:
        want = model.predict(path).to_dict()
        told = predict(running, path.read_bytes()).json()
        assert [told[key] for key in ("label", "decision", "set")] == [
            want[key] for key in ("label", "decision", "set")
        ]
        assert told["foreign_score"] == pytest.approx(want["foreign_score"], abs=1e-2)
    client = tritonclient.http.InferenceServerClient(running.url.removeprefix("http://"))
    tensor = tritonclient.http.InferInput("images", [1, *model.shape], "UINT8")
    tensor.set_data_from_numpy(pixels[:1])
    logits = client.infer(running.service.name, [tensor]).as_numpy("logits")
    assert logits == pytest.approx(expected[:1], abs=1e-4)
