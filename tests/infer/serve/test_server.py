"""The process: what it says, how it ends, and what keeps it from starting."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.command_line import failure
from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.infer.api import Model
from vegrt.infer.serve.server import listen, url_of

# A service whose real runner computes only once the file GATE exists.
HELD = """
import logging, sys, time
from pathlib import Path
from vegrt.infer.api import Model, load
from vegrt.infer.serve.server import serve
from vegrt.infer.serve.settings import ServerSettings
logging.basicConfig(format="vegrt: %(message)s", level=logging.INFO)
path, gate = Path(sys.argv[1]), Path(sys.argv[2])
model = load(path, variant="fp32", runtime="onnxruntime")
class Held:
    runtime, device, calls = "onnxruntime", "cpu", 0
    def logits(self, images):
        self.calls += 1
        while self.calls > 2 and not gate.exists():  # two calls warm up
            time.sleep(0.01)
        return model.logits(images)
serve(Model(model.bundle, model.candidate, Held()), "127.0.0.1", 0, ServerSettings(max_batch=2))
"""


@contextmanager
def process(*words: object) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """Start a service and yield it with its URL, as it logs it, and the lines up to that."""
    command = [sys.executable, "-W", "error", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        lines = []
        try:
            for line in started.stderr:
                lines.append(line)
                if match := re.search(r"vegrt: serving on (http://127\.0\.0\.1:\d+)/", line):
                    yield started, match[1], lines
                    return
            raise AssertionError("".join(lines))
        finally:
            started.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_everything_inside_is_answered(
    bundle: Bundle, model: Model, files: list[Path], tmp_path: Path, number: signal.Signals
) -> None:
    gate = tmp_path / "gate"
    with process("-c", HELD, bundle.path, gate) as (service, url, _), ThreadPoolExecutor(6) as pool:
        bodies = [path.read_bytes() for path in files[:6]]
        replies = [pool.submit(httpx.post, f"{url}/v1/predict", content=body, timeout=120) for body in bodies]
        while "vegrt_inside_images 6.0" not in httpx.get(f"{url}/metrics").text:
            time.sleep(0.02)
        service.send_signal(number)
        while _takes_connections(url):
            time.sleep(0.02)
        assert service.poll() is None
        gate.touch()
        for reply, path in zip(replies, files, strict=False):
            answer, want = reply.result().json(), model.predict(path)
            assert answer["label"] == want.label
            assert answer["probability"] == pytest.approx(want.probability, abs=1e-5)
        output, errors = service.communicate(timeout=60)
    assert (service.returncode, output) == (0, "")
    assert errors.splitlines()[-1] == "vegrt: stopped; every accepted request has been answered"
    assert "Traceback" not in errors


def _takes_connections(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except OSError:
        return False
    return True


def test_the_command_serves_what_was_asked_for(bundle: Bundle, files: list[Path]) -> None:
    words = ["-m", "vegrt.cli", "serve", bundle.path, "--port", 0, "--variant", "int8-cpu", "--runtime", "openvino"]
    with process(
        *words, "--max-bytes", 9_000, "--threads", 1, "--max-delay-ms", 0.5, "--allowed-host", "a.example"
    ) as (service, url, lines):
        reply = httpx.post(f"{url}/v1/predict", content=files[0].read_bytes(), timeout=60)
        assert (reply.status_code, reply.json()["variant"]) == (200, "int8-cpu")
        assert httpx.get(f"{url}/v2/models/small").json()["platform"] == "vegrt_openvino"
        assert httpx.post(f"{url}/v1/predict", content=bytes(10_000)).status_code == 413
        photo = files[0].read_bytes()
        for host, status in (("a.example", 200), ("b.example", 403)):
            headers = {"Origin": f"https://{host}", "Host": host}
            assert httpx.post(f"{url}/v1/predict", headers=headers, content=photo).status_code == status
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
    assert "".join(lines).count("int8-cpu on openvino") == 1


def test_a_port_that_is_taken_is_one_line(bundle: Bundle) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        line = failure("serve", bundle.path, "--port", port, "--variant", "fp32")
    assert line.startswith(f"vegrt: 127.0.0.1 port {port}: cannot listen (")
    assert line.endswith("choose another --host or --port")
    with pytest.raises(VegrtError, match="cannot listen"):
        listen("192.0.2.1", 0)  # an address of documentation, nobody's


def test_an_ipv6_address_is_written_as_a_browser_wants_it() -> None:
    try:
        listener = listen("::1", 0)
    except VegrtError:
        pytest.skip("this machine has no IPv6 loopback")
    with listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}/"
