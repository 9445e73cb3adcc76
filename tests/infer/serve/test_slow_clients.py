"""Clients that are slow, silent or too many: each loses its own connection, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from vegrt.infer.api import Model
from vegrt.infer.serve import body, listening
from vegrt.infer.serve.body import Bodies
from vegrt.infer.serve.clients import client_of
from vegrt.infer.serve.refusal import Dropped, Overloaded, ShareTaken
from vegrt.infer.serve.settings import ServerSettings

Start = Callable[..., Any]
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def sockets() -> Iterator[Callable[..., socket.socket]]:
    """Connect to a service and send what is given; closed with the test."""
    with ExitStack() as stack:

        def connect(running: Any, sent: bytes = b"") -> socket.socket:
            host, port = running.url.removeprefix("http://").split(":")
            client = stack.enter_context(socket.create_connection((host, int(port)), 30))
            client.sendall(sent)
            return client

        yield connect


def read_all(client: socket.socket) -> bytes:
    """Return what a client gets until its connection ends; a reset is an end."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while block := client.recv(65536):
            received += block
    return received


def drip(client: socket.socket, byte: bytes) -> bytes:
    """Send a byte now and then, until the connection ends; return what was received."""
    client.settimeout(0.04)
    received = b""
    for _ in range(500):
        try:
            client.sendall(byte)
            block = client.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            return received
        if not block:
            return received
        received += block
    raise AssertionError("it was never closed")


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_arriving_bodies_take_no_place_in_the_queue(start: Start, sockets: Any, files: list[Path]) -> None:
    running = start(queue=2)
    for _ in range(20):
        sockets(running, HEAD + b"some")
    wait_for(lambda: bool(running.service.bodies.reading == 20))
    assert "vegrt_reading_bodies 20.0" in httpx.get(f"{running.url}/metrics").text
    assert httpx.post(f"{running.url}/v1/predict", content=files[0].read_bytes()).status_code == 200


@pytest.mark.parametrize(
    ("sent", "byte"), [(b"", b""), (b"GET / HTTP/1.1\r\nX: ", b""), (b"GET / HTTP/1.1\r\nX: ", b"a")]
)
def test_a_header_has_a_deadline_however_it_comes(start: Start, sockets: Any, sent: bytes, byte: bytes) -> None:
    client = sockets(start(header_timeout_s=0.2), sent)
    answer = drip(client, byte) if byte else read_all(client)
    assert answer.startswith(b"HTTP/1.1 408 ") == bool(sent), answer


def test_a_connection_that_is_idle_is_closed_and_dripping_does_not_keep_it(start: Start, sockets: Any) -> None:
    running = start(header_timeout_s=0.2, idle_timeout_s=0.2)
    idle, dripping = sockets(running, LIVE), sockets(running, LIVE)
    assert b'{"live": true}' in read_all(idle)
    assert b'{"live": true}' in drip(dripping, b"a")
    refused = sockets(running, b"GET /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
    assert b" 404 " in drip(refused, b"a")  # answered at once; nobody waits for its body


def test_a_body_below_the_rate_is_refused_and_its_connection_closed(start: Start, sockets: Any) -> None:
    running = start(header_timeout_s=0.2, min_rate=1_000_000)
    answer = drip(sockets(running, HEAD), b"a")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"expected at least 1000000 bytes/s" in answer
    assert running.service.bodies.reading == 0


def test_a_body_that_is_fast_enough_may_take_longer_than_the_head_start(
    start: Start, sockets: Any, files: list[Path]
) -> None:
    photo = files[0].read_bytes()
    client = sockets(
        start(header_timeout_s=0.2, min_rate=1),
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(photo),
    )
    client.sendall(photo[:-1])
    time.sleep(0.5)
    client.sendall(photo[-1:])
    assert read_all(client).startswith(b"HTTP/1.1 200")


def test_a_client_that_takes_no_byte_of_its_answers_is_closed(start: Start, sockets: Any) -> None:
    running = start(idle_timeout_s=0.3)
    client = sockets(running)
    client.settimeout(0.5)
    with contextlib.suppress(TimeoutError, ConnectionError):
        for _ in range(5000):
            client.sendall(100 * b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: not running.server.server_state.connections)


def test_at_the_limit_the_connection_that_idled_longest_is_closed(
    start: Start, sockets: Any, files: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    running = start(max_connections=4)
    body_first = sockets(running, HEAD + b"some")
    wait_for(lambda: bool(running.service.bodies.reading == 1))
    waiting = [sockets(running, b"GET / HTTP/1.1\r\nX: ") for _ in range(3)]
    with httpx.Client(timeout=30) as client:  # two requests, one connection
        assert client.get(f"{running.url}/v2/health/live").status_code == 200
        assert client.post(f"{running.url}/v1/predict", content=files[0].read_bytes()).status_code == 200
    assert read_all(waiting[0]) == b""
    assert running.service.bodies.reading == 1
    for _ in range(12):
        sockets(running, HEAD)
    assert httpx.get(f"{running.url}/v2/health/live", timeout=30).status_code == 200
    assert read_all(body_first) == b""
    assert len([record for record in caplog.records if record.name == listening.__name__]) == 1


def test_when_all_connections_are_being_answered_more_are_refused(
    start: Start, held: tuple[Model, threading.Event], files: list[Path]
) -> None:
    slow, gate = held
    running = start(slow, max_connections=2)
    with ThreadPoolExecutor(2) as pool:
        inside = [
            pool.submit(httpx.post, f"{running.url}/v1/predict", content=files[n].read_bytes(), timeout=60)
            for n in range(2)
        ]
        wait_for(lambda: bool(running.service.batcher.inside == 2))
        refused = httpx.get(f"{running.url}/v2/health/live", timeout=30)
        assert (refused.status_code, refused.json()) == (503, {"error": "too many connections; try again soon"})
        gate.set()
        assert [reply.result().status_code for reply in inside] == [200, 200]


def test_without_a_free_descriptor_it_says_so_once_and_goes_on_afterwards(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    running = start()
    assert httpx.get(f"{running.url}/v2/health/live", timeout=60).status_code == 200  # all that it opens is open
    host, port = running.url.removeprefix("http://").split(":")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        client.settimeout(30)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # what is open stays open
        try:
            client.connect((host, int(port)))
            client.sendall(LIVE)
            time.sleep(0.6)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        answered(client)
    lines = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines == [
        "a connection cannot be accepted (Too many open files); raise the limit of open files with: ulimit -n"
    ]


def test_the_limit_of_open_files_limits_the_connections(caplog: pytest.LogCaptureFixture) -> None:
    assert listening.most_connections(1) == 1
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        assert 1 <= listening.most_connections(512) < 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "instead of 512, because only 200 open files are allowed" in caplog.text


def test_bytes_that_are_not_http_are_answered_as_any_error(start: Start, sockets: Any) -> None:
    answer = read_all(sockets(start(), b"\x16\x03\x01 hello\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'{"error": "not a request of HTTP/1.1: illegal request line' in answer


class Sender:
    """A request whose body is sent by hand."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(self) -> Any:
        block = await self.queue.get()
        return {"type": "http.request", "body": block, "more_body": bool(block)}

    def request(self) -> Request:
        return Request({"type": "http", "method": "POST", "headers": []}, self.receive)


async def whole(bodies: Bodies, sender: Sender, until: asyncio.Event | None = None, client: str = "") -> bytes:
    async with bodies.read(sender.request(), client) as received:
        if until:
            await until.wait()
        return received


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerSettings, "max_held_bytes", 100)
    monkeypatch.setattr(body, "YOUNG_S", 0.0)


@pytest.mark.usefixtures("little_memory")
def test_the_slowest_body_gives_its_memory_to_the_next() -> None:
    async def scene() -> None:
        bodies, slow, slower, fast = Bodies(ServerSettings()), Sender(), Sender(), Sender()
        tasks = [asyncio.create_task(whole(bodies, sender)) for sender in (slow, slower)]
        await slow.queue.put(50 * b"x")
        await slower.queue.put(40 * b"x")
        await asyncio.sleep(0.02)
        for block in (60 * b"y", b""):
            await fast.queue.put(block)
        assert await whole(bodies, fast) == 60 * b"y"
        with pytest.raises(Dropped):
            await tasks[1]
        assert not tasks[0].done() or isinstance(tasks[0].exception(), Dropped)
        await slow.queue.put(b"")
        await asyncio.wait([tasks[0]])
        assert bodies.reading == bodies.held_bytes == 0

    asyncio.run(scene())


@pytest.mark.usefixtures("little_memory")
def test_a_complete_body_is_never_dropped() -> None:
    async def scene() -> None:
        bodies, first, second, done = Bodies(ServerSettings()), Sender(), Sender(), asyncio.Event()
        for block in (90 * b"x", b""):
            await first.queue.put(block)
        task = asyncio.create_task(whole(bodies, first, done))
        await asyncio.sleep(0.02)
        await second.queue.put(20 * b"y")
        with pytest.raises(Overloaded, match="too many large bodies"):
            await whole(bodies, second)
        done.set()
        assert await task == 90 * b"x"
        assert bodies.held_bytes == 0

    asyncio.run(scene())


def test_a_client_that_reads_a_few_bytes_now_and_then_is_closed(start: Start, sockets: Any) -> None:
    running = start(idle_timeout_s=0.4)
    client = sockets(running)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(0.02)
    with contextlib.suppress(ConnectionError):
        for _ in range(2000):
            with contextlib.suppress(TimeoutError):
                client.sendall(1000 * b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(TimeoutError):
                if not client.recv(512):
                    break
    wait_for(lambda: not running.server.server_state.connections)
    assert 'vegrt_connections_closed_total{reason="unread_answer"} 1.0' in httpx.get(f"{running.url}/metrics").text


def answered(client: socket.socket) -> None:
    """Receive the answer to LIVE, whose head and body may come one after the other."""
    answer = b""
    while b'{"live": true}' not in answer:
        block = client.recv(65536)
        assert block, answer
        answer += block


def from_address(running: Any, address: str, sent: bytes = b"") -> socket.socket:
    """Connect from another address of this machine; the caller closes it."""
    host, port = running.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), 30, source_address=(address, 0))
    client.sendall(sent)
    return client


def test_a_client_fills_its_share_of_the_connections_only(start: Start, sockets: Any) -> None:
    running = start(max_connections=8, client_share=0.5)
    others = [sockets(running, LIVE) for _ in range(2)]
    with ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(from_address(running, "127.0.0.9", HEAD))
        wait_for(lambda: 'closed_total{reason="limit"} 8.0' in httpx.get(f"{running.url}/metrics").text)
        for client in others:
            answered(client)
            client.sendall(LIVE)
            answered(client)
        assert "vegrt_connections 7.0" in httpx.get(f"{running.url}/metrics").text


def test_a_client_fills_its_share_of_the_queue_only(
    start: Start, held: tuple[Model, threading.Event], files: list[Path]
) -> None:
    slow, gate = held
    running = start(slow, queue=4, client_share=0.5)
    photo, other = files[0].read_bytes(), httpx.HTTPTransport(local_address="127.0.0.9")
    with ThreadPoolExecutor(3) as pool, httpx.Client(transport=other, timeout=60) as client:
        inside = [pool.submit(httpx.post, f"{running.url}/v1/predict", content=photo, timeout=60) for _ in range(2)]
        wait_for(lambda: bool(running.service.batcher.inside == 2))
        refused = httpx.post(f"{running.url}/v1/predict", content=photo)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "this client's share of the queue is full (2 of 2 images)" in refused.json()["error"]
        inside.append(pool.submit(client.post, f"{running.url}/v1/predict", content=photo))
        wait_for(lambda: bool(running.service.batcher.inside == 3))
        gate.set()
        assert [reply.result().status_code for reply in inside] == [200, 200, 200]
        assert httpx.post(f"{running.url}/v1/predict", content=photo).status_code == 200
    assert 'vegrt_requests_total{code="429",endpoint="predict"} 1.0' in httpx.get(f"{running.url}/metrics").text


@pytest.mark.usefixtures("little_memory")
def test_a_client_fills_its_share_of_the_memory_only() -> None:
    async def scene() -> None:
        bodies, first, second, third = (
            Bodies(ServerSettings(client_share=0.5, max_bytes=50)),
            Sender(),
            Sender(),
            Sender(),
        )
        task = asyncio.create_task(whole(bodies, first, client="a"))
        await first.queue.put(40 * b"x")
        await asyncio.sleep(0.02)
        await second.queue.put(20 * b"y")
        with pytest.raises(ShareTaken, match="the bodies of this client have more than 50 bytes"):
            await whole(bodies, second, client="a")
        for block in (20 * b"z", b""):
            await third.queue.put(block)
        assert await whole(bodies, third, client="b") == 20 * b"z"
        await first.queue.put(b"")
        assert await task == 40 * b"x"
        assert bodies.held_bytes == 0

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_a_client_is_an_address_or_a_network_of_ipv6(address: str, client: str) -> None:
    assert client_of(address) == client
