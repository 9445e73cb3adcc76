"""Raw requests that HTTP servers disagree about: one answer where one request was sent, never an internal error, never a hang.

The cases are those of h11's own tests (h11/tests/test_io.py, test_connection.py) and of the catalogue of request smuggling
(RFC 9112 sections 2.2, 5, 6 and 11.2), sent to a running service. All are sent at once, so that their time limits pass together.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from vegrt.infer.serve.settings import ServerSettings

GET, HOST, END = b"GET /v2/health/live HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n"
LIVE = GET + HOST + END
POST = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SECOND = b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n"

# name -> bytes, statuses of the answers
CASES: dict[str, tuple[bytes, list[int]]] = {
    "a request": (LIVE, [200]),
    "two in one packet": (LIVE + SECOND, [200, 200]),
    "body, then a request": (POST + b"Content-Length: 4\r\n\r\nabcd" + SECOND, [422, 200]),
    "chunks, then a request": (POST + CHUNKED + b"\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n" + SECOND, [422, 200]),
    "chunk extension and trailer": (POST + CHUNKED + b'\r\n2;a="b"\r\nab\r\n0\r\nX: y\r\n\r\n' + SECOND, [422, 200]),
    "a body that GET does not need": (GET + HOST + b"Content-Length: 4\r\n\r\nabcd" + SECOND, [200, 200]),
    "closing": (GET + HOST + b"Connection: close\r\n\r\n" + SECOND, [200]),
    "HTTP/1.0": (b"GET /v2/health/live HTTP/1.0\r\n\r\n" + SECOND, [200]),
    "HTTP/1.0 with a body": (b"POST /v1/predict HTTP/1.0\r\nContent-Length: 4\r\n\r\nabcd", [422]),
    "HEAD": (b"HEAD /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND, [200, 200]),
    "empty lines before it": (b"\r\n\r\n" + LIVE, [400]),
    "bare LF": (LIVE.replace(b"\r\n", b"\n") + SECOND, [200, 200]),
    "expect": (POST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nabcd" + SECOND, [100, 422, 200]),
    "expect, no body": (POST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n", [100, 408]),
    "expect, refused at once": (POST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n", [413]),
    "unknown expectation": (GET + HOST + b"Expect: a-miracle\r\n\r\n", [200]),
    "folded header": (GET + HOST + b"X: a\r\n b\r\n\r\n" + SECOND, [200, 200]),
    "absolute target": (b"GET http://x/v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
    "absolute target, rebinding": (
        POST.replace(b"/v1", b"http://evil.example/v1") + b"Origin: http://x\r\nContent-Length: 0\r\n\r\n",
        [403],
    ),
    "target *": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND, [404, 200]),
    "target of CONNECT": (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND, [404, 200]),
    "path up": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", [404]),
    "percent NUL": (b"GET /%00%ff%0d%0aX:%20y HTTP/1.1\r\nHost: x\r\n\r\n", [404]),
    "two slashes": (b"GET //evil.example/ HTTP/1.1\r\nHost: x\r\n\r\n", [404]),
    "unknown method": (b"BREW /v1/predict HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND, [405, 200]),
    "method in lower case": (b"get /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
    "upgrade to a websocket": (GET + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", [200]),
    "upgrade to HTTP/2": (GET + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", [200]),
    "500 headers": (GET + HOST + b"".join(b"X-%d: y\r\n" % n for n in range(500)) + END, [200]),
    # whose length is not certain
    "both lengths": (POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SECOND, [400]),
    "both lengths, the other order": (POST + CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n" + SECOND, [400]),
    "two lengths": (POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde" + SECOND, [400]),
    "two lengths in a list": (POST + b"Content-Length: 4, 5\r\n\r\nabcde" + SECOND, [400]),
    "the same length twice": (POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd" + SECOND, [422, 200]),
    "a signed length": (POST + b"Content-Length: +4\r\n\r\nabcd" + SECOND, [400]),
    "a negative length": (POST + b"Content-Length: -4\r\n\r\nabcd" + SECOND, [400]),
    "a hexadecimal length": (POST + b"Content-Length: 0x4\r\n\r\nabcd" + SECOND, [400]),
    "a length of digits without end": (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nabcd", [400]),
    "no length": (POST + b"\r\n" + SECOND, [422, 200]),
    "unknown coding": (POST + b"Transfer-Encoding: gzip\r\n\r\nabcd" + SECOND, [501]),
    "two codings": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + SECOND, [501]),
    "chunked twice": (POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n" + SECOND, [501]),
    "a tab before chunked": (POST + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + SECOND, [422, 200]),
    "a vertical tab before chunked": (POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SECOND, [400]),
    "a space before the colon": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SECOND, [400]),
    "HTTP/1.0 in chunks": (b"POST /v1/predict HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SECOND, [400]),
    "a chunk that is no number": (POST + CHUNKED + b"\r\nzz\r\nab\r\n0\r\n\r\n" + SECOND, [400]),
    "a signed chunk": (POST + CHUNKED + b"\r\n+2\r\nab\r\n0\r\n\r\n" + SECOND, [400]),
    "a hexadecimal chunk": (POST + CHUNKED + b"\r\n0x2\r\nab\r\n0\r\n\r\n" + SECOND, [400]),
    "a chunk of 2**80 bytes": (POST + CHUNKED + b"\r\n" + b"f" * 21 + b"\r\nab\r\n0\r\n\r\n", [400]),
    "a chunk of 2**60 bytes": (POST + CHUNKED + b"\r\n" + b"f" * 15 + b"\r\nab", [408]),
    "a chunk that is longer than stated": (POST + CHUNKED + b"\r\n2\r\nabcd\r\n0\r\n\r\n" + SECOND, [400]),
    "a chunk that ends with other bytes": (POST + CHUNKED + b"\r\n2\r\nabXX0\r\n\r\n" + SECOND, [400]),
    "a chunk header with bare LF": (POST + CHUNKED + b"\r\n2\nab\r\n0\r\n\r\n" + SECOND, [400]),
    "an endless chunk extension": (POST + CHUNKED + b"\r\n2;" + b"a" * 70_000, [431]),
    # not HTTP/1.1
    "no host": (GET + END, [400]),
    "two hosts": (GET + HOST + b"Host: y\r\n\r\n", [400]),
    "no version": (b"GET /v2/health/live\r\n\r\n", [400]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
    "HTTP/9": (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", [505]),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)) + b"\r\n\r\n", [400]),
    "NUL in a header": (GET + HOST + b"X: a\x00b\r\n\r\n", [400]),
    "NUL in a name": (GET + HOST + b"X\x00: a\r\n\r\n", [400]),
    "CR in a header": (GET + HOST + b"X: a\rY: b\r\n\r\n", [400]),
    "a header without a colon": (GET + HOST + b"X\r\n\r\n", [400]),
    "a header without a name": (GET + HOST + b": y\r\n\r\n", [400]),
    "a folded first header": (GET + b" X: y\r\n" + HOST + END, [400]),
    "control characters in the target": (b"GET /\x01\x7f HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "bytes above 127 in the target": (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "a header of 100 KiB": (GET + HOST + b"X: " + b"a" * 100_000 + b"\r\n\r\n", [431]),
    "a target of 100 KiB": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", [431]),
    "half a header": (GET + b"Host: ", [408]),
    "half a body": (POST + b"Content-Length: 8\r\n\r\nabcd", [408]),
    "half a chunk": (POST + CHUNKED + b"\r\n8\r\nabcd", [408]),
    "nothing": (b"", []),
    "spaces": (b" " * 50, [400]),
}


@pytest.fixture(scope="module")
def received(start_once: Callable[..., Any]) -> dict[str, bytes]:
    """What each case gets until its connection ends, all of them at once."""
    running = start_once(ServerSettings(header_timeout_s=0.5, idle_timeout_s=0.5, body_timeout_s=0.5))
    host, port = running.url.removeprefix("http://").split(":")

    def ask(sent: bytes) -> bytes:
        answer = b""
        with socket.create_connection((host, int(port)), 20) as client, contextlib.suppress(ConnectionError):
            client.sendall(sent)
            while block := client.recv(65536):
                answer += block
        return answer

    with ThreadPoolExecutor(len(CASES)) as pool:
        answers = dict(zip(CASES, pool.map(ask, (sent for sent, _ in CASES.values())), strict=True))
    assert httpx.get(f"{running.url}/v2/health/live").status_code == 200
    return answers


@pytest.mark.parametrize("name", CASES)
def test_every_request_gets_its_own_answer_and_no_other(received: dict[str, bytes], name: str) -> None:
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received[name])]
    assert statuses == CASES[name][1], received[name][:400]
    for block in received[name].split(b"HTTP/1.1 ")[1:]:
        body = block.partition(b"\r\n\r\n")[2]
        assert len(body) < 600
        assert body.count(b"\n") == 0 or block.startswith(b"200")


def test_garbage_in_the_body_of_a_request_that_is_answered_gets_no_second_answer(start: Callable[..., Any]) -> None:
    host, port = start().url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 20) as client:
        client.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n2\r\nab")
        answer = client.recv(65536)
        client.sendall(b"XX0\r\n\r\n" + SECOND)
        with contextlib.suppress(ConnectionError):
            while block := client.recv(65536):
                answer += block
    assert re.findall(rb"HTTP/1\.1 (\d{3}) ", answer) == [b"404"]
