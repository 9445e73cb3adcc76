"""A headless Chromium driven through chromedriver's HTTP interface: what a page looks like, logs, and asks of the network."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-component-update", "--disable-background-networking", "--disable-sync"),
)
_START_S = 20


@dataclass(frozen=True)
class Browser:
    """An open session. url: of its chromedriver, with the session."""

    url: str

    def look(self, page: Path, *, width: int, scheme: Literal["light", "dark"] = "light", height: int = 1000) -> None:
        """Open a page of this width in pixels, in light or dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.tool("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.tool("Emulation.setEmulatedMedia", {"features": features})
        _call(f"{self.url}/url", {"url": page.absolute().as_uri()})

    def run(self, script: str) -> Any:
        """Return what a script of the driver returns in the page."""
        return _call(f"{self.url}/execute/sync", {"script": script, "args": []})

    def tool(self, command: str, parameters: dict[str, Any]) -> Any:
        """Return the answer to a command of the DevTools protocol."""
        return _call(f"{self.url}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def log(self, kind: Literal["browser", "performance"]) -> list[dict[str, Any]]:
        """Return what was logged since the last call: the console, or the DevTools events."""
        entries: list[dict[str, Any]] = _call(f"{self.url}/se/log", {"type": kind})
        return entries

    def requests(self) -> list[str]:
        """Return every address that was asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def picture(self, file: Path) -> None:
        """Write the whole page as PNG."""
        shot = self.tool("Page.captureScreenshot", {"captureBeyondViewport": True})
        file.write_bytes(base64.b64decode(shot["data"]))


def found() -> str | None:
    """Return what is missing for a Browser, or None."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and no '.join(missing)} on this machine" if missing else None


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Yield an open browser. profile: a folder for its user data."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        base = f"http://127.0.0.1:{_port(driver)}/session"
        options = {"binary": shutil.which("chromium"), "args": [*_FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        session = _call(base, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        try:
            opened = Browser(f"{base}/{session}")
            _call(f"{opened.url}/url", {"url": "about:blank"})  # away from the browser's own start page
            opened.requests()
            yield opened
        finally:
            _call(f"{base}/{session}", None, method="DELETE")
    finally:
        driver.terminate()
        driver.wait(10)
        assert driver.stdout is not None
        driver.stdout.close()


def _port(driver: subprocess.Popen[str]) -> int:
    assert driver.stdout is not None
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        line = driver.stdout.readline()
        if "started successfully on port" in line:
            return int(line.rsplit("port", 1)[1].strip(" .\n"))
    raise TimeoutError("chromedriver did not start")


def _call(url: str, body: Any, *, method: str = "POST") -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode()) from error
