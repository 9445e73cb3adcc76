"""Which pages a browser may use the service from: its own, by a name of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from vegrt.infer.serve.origins import Hosts

LOCAL = Hosts.of("127.0.0.1", ())
OPEN = Hosts.of("0.0.0.0", ["Photos.Example"])


@pytest.mark.parametrize(
    ("hosts", "origin", "host"),
    [
        (LOCAL, "http://127.0.0.1:8000", "127.0.0.1:8000"),
        (LOCAL, "http://localhost:8000", "localhost:8000"),
        (LOCAL, "http://me.localhost", "ME.localhost"),
        (LOCAL, "http://[::1]:8000", "[::1]:8000"),
        (Hosts.of("jetson", ()), "http://jetson:8000", "jetson:8000"),
        (OPEN, "http://192.168.1.7:8000", "192.168.1.7:8000"),
        (OPEN, "http://[2001:db8::1]", "[2001:db8::1]"),
        (OPEN, "https://photos.example", "photos.example"),
        (OPEN, "https://photos.example", "127.0.0.1:8000"),  # a proxy that does not pass the name on
    ],
)
def test_pages_of_the_server_itself_are_accepted(hosts: Hosts, origin: str, host: str) -> None:
    assert hosts.refusal(origin, host) == ""


@pytest.mark.parametrize(
    ("hosts", "origin", "host"),
    [
        (LOCAL, "http://evil.example", "127.0.0.1:8000"),  # another page
        (LOCAL, "http://evil.example:8000", "evil.example:8000"),  # DNS rebinding
        (LOCAL, "http://localhost:3000", "localhost:8000"),  # another service of this machine
        (LOCAL, "http://localhost:8000", "evil.example:8000"),
        (LOCAL, "http://192.168.1.7:8000", "192.168.1.7:8000"),  # not an address that is listened on
        (LOCAL, "http://localhost.evil.example", "localhost.evil.example"),
        (LOCAL, "http://127.0.0.1.evil.example", "127.0.0.1.evil.example"),
        (LOCAL, "http://evil.example@localhost:8000", "localhost:8000"),
        (LOCAL, "null", "127.0.0.1:8000"),
        (LOCAL, "file://", "127.0.0.1:8000"),
        (LOCAL, "http://", ""),
        (LOCAL, "http://[", "["),
        (OPEN, "http://evil.example", "evil.example"),
        (OPEN, "http://evil.example", "photos.example"),
    ],
)
def test_pages_of_other_sites_are_refused_in_one_line(hosts: Hosts, origin: str, host: str) -> None:
    reason = hosts.refusal(origin, host)
    assert reason.startswith("origin ")
    assert "\n" not in reason


def test_one_own_origin_among_several_is_not_enough(shared: Any) -> None:
    address = shared.url.removeprefix("http://")
    for values in (("http://evil.example", shared.url), (shared.url, "http://evil.example"), (shared.url, shared.url)):
        headers = [("host", address), *(("origin", value) for value in values)]
        refused = httpx.post(f"{shared.url}/v1/predict", content=b"x", headers=headers)
        assert (refused.status_code, refused.json()["error"][:8]) == (403, "origin '")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "GET"])
def test_every_method_is_refused_to_other_pages_and_allows_them_nothing(shared: Any, method: str) -> None:
    refused = httpx.request(method, f"{shared.url}/v1/predict", headers={"origin": "http://evil.example"})
    assert refused.status_code == 403
    assert not [name for name in refused.headers if name.startswith("access-control-")]


def test_only_browsers_are_checked_for_their_origin(shared: Any, files: list[Path]) -> None:
    photo, address = files[0].read_bytes(), shared.url.removeprefix("http://")

    def ask(path: str = "/v1/predict", **headers: str) -> httpx.Response:
        return httpx.post(shared.url + path, content=photo, headers=headers)

    assert ask().status_code == ask(host="x").status_code == ask(origin=shared.url).status_code == 200
    for path in ("/v1/predict", "/v2/models/small/infer"):
        evil = {"origin": "http://evil.example", "host": address}
        for headers in (evil, {"origin": "http://evil.example", "host": "evil.example"}, {"origin": "null"}):
            refused = ask(path, **headers)
            assert refused.status_code == 403
            assert refused.json()["error"].startswith("origin ")
    assert "vegrt serve --allowed-host evil.example" in ask(origin="http://evil.example").json()["error"]
    assert httpx.get(shared.url, headers={"origin": "http://evil.example"}).status_code == 403
    assert httpx.get(shared.url, headers={"host": "evil.example"}).status_code == 200  # it only shows the page
