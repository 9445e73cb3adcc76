"""The web page in a real headless Chromium, driven over chromedriver's W3C protocol."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from vegrt.infer.api import Model

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's id in the W3C protocol


class Browser:
    """One page of one session."""

    def __init__(self, http: httpx.Client, session: str) -> None:
        self._http, self._session = http, session

    def call(self, path: str, **words: Any) -> Any:
        reply = self._http.post(f"/session/{self._session}/{path}", json=words).json()["value"]
        assert not (isinstance(reply, dict) and "error" in reply), reply
        return reply

    def open(self, url: str, width: int = 1280, height: int = 800) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=metrics)
        self.call("url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.call("execute/sync", script=script, args=list(arguments))

    def type(self, selector: str, text: str) -> None:
        element = self.call("element", using="css selector", value=selector)[ELEMENT]
        self.call(f"element/{element}/value", text=text)

    def wait_for(self, condition: str) -> None:
        """Wait in the page until a JavaScript expression is true."""
        script = "const [done] = arguments; (function look() { (%s) ? done(true) : setTimeout(look, 20); })();"
        self.call("execute/async", script=script % condition, args=[])

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).innerText", selector))

    def console(self) -> list[str]:
        return [entry["message"] for entry in self.call("se/log", type="browser")]

    def picture(self, name: str) -> None:
        """Keep a screenshot where VEGRT_SCREENSHOTS says, for people to look at."""
        if folder := os.environ.get("VEGRT_SCREENSHOTS"):
            shot = self._http.get(f"/session/{self._session}/screenshot").json()["value"]
            (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(shot))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None or shutil.which("chromedriver") is None:
        pytest.skip("chromium and chromedriver are not installed; apt-get install chromium chromium-driver")
    profile = tmp_path_factory.mktemp("profile")
    options = {"binary": chromium, "args": [*FLAGS.split(), f"--user-data-dir={profile}"]}
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}, "timeouts": {"script": 60_000}}
    with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        try:
            port = next(match[1] for line in driver.stdout if (match := re.search(r"on port (\d+)\.", line)))
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as http:
                created = http.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
                assert "sessionId" in created, created
                yield Browser(http, created["sessionId"])
                http.delete(f"/session/{created['sessionId']}")
        finally:
            driver.terminate()


ANSWERED = "!document.querySelector('#answer').hidden && !document.querySelector('#answer.stale')"
Start = Callable[..., Any]


def check_answer(browser: Browser, model: Model, photo: Path) -> None:
    want = model.predict(photo)
    assert browser.text("#label") == want.label
    rows = browser.run("return [...document.querySelectorAll('#top li')].map(row => row.innerText.split('\\n'))")
    assert [name for name, _ in rows] == [score.label for score in want.top]
    shown = [float(percent.removesuffix(" %")) for _, percent in rows]
    assert shown == pytest.approx([100 * score.probability for score in want.top], abs=0.06)
    drawn = browser.run(
        "return [...document.querySelectorAll('.bar')].map(bar => bar.firstChild.clientWidth / bar.clientWidth)"
    )
    assert drawn == pytest.approx([score.probability for score in want.top], abs=0.02)


def test_a_photo_that_is_chosen_is_answered_and_nothing_is_on_the_console(
    browser: Browser, shared: Any, model: Model, files: list[Path]
) -> None:
    browser.open(shared.url)
    assert "3 classes, fp32 on onnxruntime" in browser.text("main")
    for photo in (files[0], files[25]):
        browser.type("#photo", str(photo))
        browser.wait_for(f"{ANSWERED} && document.querySelector('#label').innerText == '{model.predict(photo).label}'")
        check_answer(browser, model, photo)
        assert not browser.run("return document.querySelector('#shown').hidden")
    assert browser.console() == []


def test_the_page_reports_a_file_that_is_no_photo_and_goes_on(
    browser: Browser, shared: Any, model: Model, files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("text")
    browser.open(shared.url)
    browser.type("#photo", str(tmp_path / "text.jpg"))
    browser.wait_for("!document.querySelector('#problem').hidden")
    assert browser.text("#problem").startswith("image: not a")
    browser.type("#photo", str(files[1]))
    browser.wait_for(ANSWERED)
    check_answer(browser, model, files[1])
    assert browser.run("return document.querySelector('#problem').hidden")
    browser.console()  # Chromium notes the 422 there


def test_a_photo_may_be_dropped_or_pasted(browser: Browser, shared: Any, model: Model, files: list[Path]) -> None:
    script = """
        const [text, kind] = arguments, bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
        document.querySelector("main").dispatchEvent(kind == "drop"
          ? new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true })
          : new ClipboardEvent(kind, { clipboardData: data, bubbles: true }));"""
    for kind, photo in (("drop", files[30]), ("paste", files[50])):
        browser.open(shared.url)
        browser.run(script, base64.b64encode(photo.read_bytes()).decode(), kind)
        browser.wait_for(ANSWERED)
        check_answer(browser, model, photo)
    assert browser.console() == []


def test_it_fits_a_phone_works_by_keyboard_and_follows_the_dark_mode(
    browser: Browser, shared: Any, files: list[Path], tmp_path: Path
) -> None:
    Image.open(files[2]).resize((1600, 400)).save(tmp_path / "wide.jpg")
    for width, scheme, paper in ((390, "light", "rgb(255, 255, 255)"), (1280, "dark", "rgb(18, 23, 28)")):
        emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.call("goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params=emulated)
        browser.open(shared.url, width)
        browser.picture(f"{width}-empty")
        browser.type("#photo", str(tmp_path / "wide.jpg"))
        browser.wait_for(f"{ANSWERED} && !document.querySelector('#shown').hidden")
        browser.picture(f"{width}-answered")
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run("return getComputedStyle(document.body).backgroundColor") == paper
        browser.run("document.activeElement.blur()")
        keys = [{"type": kind, "value": "\ue004"} for kind in ("keyDown", "keyUp")]  # Tab
        browser.call("actions", actions=[{"type": "key", "id": "keyboard", "actions": keys}])
        assert browser.run("return document.activeElement.id") == "photo"
        assert browser.run("return getComputedStyle(document.querySelector('#drop')).outlineStyle") == "solid"
    assert browser.console() == []


def test_a_script_from_elsewhere_does_not_run(browser: Browser, shared: Any) -> None:
    browser.open(shared.url)
    browser.run(
        "const script = document.createElement('script'); script.textContent = 'window.intruder = 1';"
        "document.body.append(script)"
    )
    assert browser.run("return window.intruder") is None
    assert any("Content Security Policy" in message for message in browser.console())


def test_the_page_reports_a_server_that_is_gone(browser: Browser, start: Start, files: list[Path]) -> None:
    running = start()
    browser.open(running.url)
    browser.run("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    browser.type("#photo", str(files[0]))
    browser.wait_for("!document.querySelector('#problem').hidden")
    assert browser.text("#problem") == "The server does not respond."
