"""The page in a real browser: a headless Chromium, driven through chromedriver's HTTP interface."""

from __future__ import annotations

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

import pytest

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-component-update", "--disable-background-networking", "--disable-sync"),
)
_START_S = 20
_MISSING = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(_MISSING), reason=f"no {' and no '.join(_MISSING)} on this machine")


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


# pairs of texts of one chart whose boxes share more than a pixel; a turned text's box is no measure of it
_OVERLAPPING = """
return [...document.querySelectorAll('.plot svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')].filter(one => one.textContent.trim()
    && getComputedStyle(one).opacity !== '0' && one.getAttribute('opacity') !== '0'
    && !(one.getAttribute('transform') || '').includes('rotate(-60'));
  const boxes = texts.map(one => one.getBoundingClientRect());
  return boxes.flatMap((one, i) => boxes.slice(i + 1).flatMap((other, j) =>
    Math.min(one.right, other.right) - Math.max(one.left, other.left) > 1
    && Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 3
      ? [[texts[i].textContent, texts[i + 1 + j].textContent]] : []));
});
"""


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


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_the_page_loads_nothing_logs_nothing_and_fits(
    opened: Browser, page: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    opened.look(page, width=width, scheme=scheme)
    drawn = "return document.querySelectorAll('.plot.vega-embed svg.marks').length"
    plots = opened.run("return document.querySelectorAll('.plot').length")
    end = time.monotonic() + _START_S
    while opened.run(drawn) < plots and time.monotonic() < end:
        time.sleep(0.05)
    assert opened.run(drawn) == plots > 11
    assert opened.log("browser") == []
    asked = [address for address in opened.requests() if not address.startswith("data:")]
    assert asked == [page.as_uri()]
    assert opened.run("return document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    paper = opened.run("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    too_wide = (
        "return [...document.querySelectorAll('.plot')].filter(one => one.scrollWidth > one.clientWidth + 1).length"
    )
    assert opened.run(too_wide) == 0
    cut = "return [...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth).length"
    assert width < 1280 or opened.run(cut) == 0, "a table has columns that are cut off"
    gate = "return document.querySelector('#part1-comparison ~ .scroll td .badge').getBoundingClientRect().right"
    assert 0 < opened.run(gate) <= width, "the gate is off the screen"
    captions = (
        "return Math.max(...[...document.querySelectorAll('caption')].map(one => one.getBoundingClientRect().right))"
    )
    assert opened.run(captions) <= width, "a caption is cut off"


@pytest.mark.parametrize("width", [390, 1280])
def test_no_label_of_a_chart_lies_on_another(opened: Browser, page: Path, width: int) -> None:
    opened.look(page, width=width)
    drawn = "return document.querySelectorAll('.plot.vega-embed svg.marks').length"
    end = time.monotonic() + _START_S
    while opened.run(drawn) < opened.run("return document.querySelectorAll('.plot').length") and time.monotonic() < end:
        time.sleep(0.05)
    assert opened.run(_OVERLAPPING) == []


def test_tab_leads_to_the_skip_link_first(opened: Browser, page: Path) -> None:
    opened.look(page, width=390)
    for kind in ("keyDown", "keyUp"):
        opened.tool("Input.dispatchKeyEvent", {"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9})
    assert opened.run("return document.activeElement.getAttribute('href')") == "#content"
    assert opened.run("return document.activeElement.getBoundingClientRect().top") >= 0
