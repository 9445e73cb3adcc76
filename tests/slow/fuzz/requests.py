"""Requests of the service: HTTP, forms, and the Open Inference Protocol in JSON and binary."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import h11
import numpy as np

from tests.slow.fuzz.mutate_bytes import mutated_bytes
from tests.slow.fuzz.target import Target, as_json
from vegrt.infer.serve.body import photo_bytes
from vegrt.infer.serve.protocol import parse_infer, render_infer
from vegrt.infer.serve.requests import StrictRequests

SHAPE = (4, 4, 3)
CLASSES = ("Beet", "Cress", "\ud800")
_PIXELS = bytes(range(96))


def _tensors() -> list[bytes]:
    """Return requests: the length of the JSON in a line, or nothing, then the body."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, *SHAPE]}
    wanted = {"name": "logits", "parameters": {"classification": 2, "binary_data": True}}
    plain = {"inputs": [{**tensor, "data": list(_PIXELS)}], "id": "a"}
    nested = {
        "inputs": [{**tensor, "data": np.frombuffer(_PIXELS, np.uint8).reshape(2, *SHAPE).tolist()}],
        "outputs": [wanted],
    }
    binary = {
        "inputs": [{**tensor, "parameters": {"binary_data_size": 96}}],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(binary).encode()
    return [
        b"\n" + json.dumps(plain).encode(),
        b"\n" + json.dumps(nested).encode(),
        b"%d\n" % len(text) + text + _PIXELS,
    ]


def damaged_tensor(data: bytes, corpus: Sequence[bytes], draws: random.Random) -> bytes:
    """Damage a request: mostly its JSON, with its right length before it."""
    line, _, body = data.partition(b"\n")
    if draws.random() > 0.8 or not (line.isdigit() or not line) or len(line) > 6:
        return mutated_bytes(data, corpus, draws)
    length = int(line) if line else len(body)
    text = as_json(body[:length], [data], draws)
    return (b"%d" % len(text) if line else b"") + b"\n" + text + body[length:]


def read_tensor(data: bytes, folder: Path) -> str:
    """Read a request, and render its answer."""
    line, _, body = data.partition(b"\n")
    request = parse_infer(body, line.decode("latin-1") or None, SHAPE)
    assert request.images.shape[1:] == SHAPE
    logits = np.zeros((len(request.images), len(CLASSES)), np.float32)
    content, length = render_infer(request, logits, "small", ("Beet", "Cress", "\xe9"))
    json.loads(content[:length])
    return f"{request.binary} {request.classes > 0}"


def _forms() -> list[bytes]:
    """Return forms: the content type in a line, then the body."""
    head = (
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    field = b'--edge\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
    kind = b"multipart/form-data; boundary=edge\n"
    return [
        kind + head + b"photo\r\n--edge--\r\n",
        kind + field + b"photo\r\n--edge--\r\n",
        kind + field + b"a\r\n" + head + b"b\r\n--edge--",
        b"image/jpeg\nphoto",
    ]


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def read_form(data: bytes, folder: Path) -> str:
    """Read the photo in a form."""
    kind, _, body = data.partition(b"\n")
    photo = _loop().run_until_complete(photo_bytes(body, kind.decode("latin-1")))
    assert photo in body
    return str(len(photo) == len(body))


_HTTP = (
    b"POST /v1/predict?top_k=2 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcdGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST http://x/v1/predict HTTP/1.1\r\nHost: y\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0\r\nX: y\r\n\r\n",
    b"GET /metrics HTTP/1.0\r\nX: a\r\n b\r\nConnection: keep-alive\r\n\r\n",
)


def read_http(data: bytes, folder: Path) -> str:
    """Read the first request of a connection, as uvicorn does."""
    connection = StrictRequests(h11.SERVER)
    connection.receive_data(data)
    try:
        for _ in range(10_000):
            event = connection.next_event()
            if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return repr(event)
            if isinstance(event, h11.Request):
                assert not event.target.lower().startswith((b"http://", b"https://"))
                event.target.decode("ascii")
    except h11.RemoteProtocolError:
        assert connection.status in (400, 431, 501, 505)
        assert len(connection.reason.splitlines()) == 1
        return f"{connection.status}"
    raise AssertionError("endless events")


TARGETS = (
    Target("http", lambda base: _HTTP, read_http, weight=3.0),
    Target("forms", lambda base: _forms(), read_form, weight=2.0),
    Target("tensors", lambda base: _tensors(), read_tensor, damaged_tensor, weight=3.0),
)
