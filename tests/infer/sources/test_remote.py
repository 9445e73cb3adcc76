"""URLs: retries, slow servers, and file systems of fsspec."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.infer.sources.items import items_of, names_of
from vegrt.errors import DataError
from vegrt.infer.decode.item import fetched
from vegrt.infer.sources import deadline as sources_deadline
from vegrt.infer.sources.open import reading_threads


class _Server(BaseHTTPRequestHandler):
    """Answers by the path: a photo, an error for ever, an error once, too little, and a byte now and then for ever."""

    asked: dict[str, int]

    def do_GET(self) -> None:
        times = self.asked[self.path] = self.asked.get(self.path, 0) + 1
        if "drip" in self.path:
            return self.drip()
        code = 404 if self.path == "/gone.jpg" else 503 if self.path == "/busy.jpg" and times == 1 else 200
        self.send_response(code)
        self.send_header("Content-Length", "100" if self.path == "/short.jpg" else "5")
        self.end_headers()
        self.wfile.write(b"photo")

    def drip(self) -> None:
        """Send the header a byte at a time, or the body of a whole header, until the other side has gone."""
        head = b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n" + (b"" if "head" in self.path else b"\r\n")
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(head)
            while True:
                self.wfile.write(b"X" if "head" in self.path else b"\xff")
                time.sleep(0.01)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("vegrt.infer.sources.remote.WAITS_S", (0.01, 0.01))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_Server, "asked", {}, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as http_server:
        thread = threading.Thread(target=partial(http_server.serve_forever, 0.01))
        thread.start()
        yield f"http://127.0.0.1:{http_server.server_address[1]}"
        http_server.shutdown()
        thread.join()


def test_http_is_fetched_late_and_asked_again_when_that_may_help(server: str) -> None:
    good, gone, busy, short = items_of(*(f"{server}/{name}.jpg" for name in ("good", "gone", "busy", "short")))
    assert _Server.asked == {}
    assert (good.name, fetched(good)) == (f"{server}/good.jpg", b"photo")
    assert fetched(busy) == b"photo"
    with pytest.raises(DataError, match=r"gone\.jpg: cannot be fetched \(404 Not Found\)"):
        fetched(gone)
    with pytest.raises(DataError, match=r"short\.jpg: cannot be fetched"):
        fetched(short)
    assert [_Server.asked[f"/{name}.jpg"] for name in ("good", "gone", "busy", "short")] == [1, 1, 2, 3]
    (nobody,) = items_of("http://127.0.0.1:9/x.jpg")
    with pytest.raises(DataError, match="cannot be fetched"):
        fetched(nobody)


@pytest.mark.parametrize("name", ["drip-head.jpg", "drip-body.jpg"])
def test_a_dripping_server_is_given_up_and_not_asked_again(
    server: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources_deadline, "HEAD_START_S", 0.2)
    (item,) = items_of(f"{server}/{name}")
    with pytest.raises(DataError, match=rf"{name}: cannot be fetched \(too slow: \d+ bytes in \d+ s\)"):
        fetched(item)
    assert _Server.asked == {f"/{name}": 1}


def test_other_urls_are_folders_globs_and_files_of_fsspec(tree: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("b.jpg", "a/1.jpg", "a/readme.md"):
        memory.pipe(f"/photos/{name}", name.encode())
    try:
        assert names_of("memory://photos") == ["memory:///photos/a/1.jpg", "memory:///photos/b.jpg"]
        assert [fetched(item) for item in items_of("memory://photos/*.jpg", "memory://photos/a/1.jpg")] == [
            b"b.jpg",
            b"a/1.jpg",
        ]
        with pytest.raises(DataError, match=r"memory://photos/none\.jpg: cannot be listed"):
            names_of("memory://photos/none.jpg")
        with pytest.raises(DataError, match="cannot be listed"):
            names_of("nonsense://x")
        (bad,) = items_of("memory://photos/b.jpg")
        memory.rm("/photos/b.jpg")
        with pytest.raises(DataError, match=r"b\.jpg: cannot be fetched"):
            fetched(bad)
    finally:
        memory.rm("/photos", recursive=True)
    Path("urls.txt").write_text("nonsense://x\n")
    assert "cannot be listed" in str(items_of("urls.txt")[0].content)
    assert reading_threads(["urls.txt"], 0) == 16 > reading_threads(["b.jpg"], 2) == 2
