"""The folder for `docker build`: read by two Dockerfile parsers, and its entry point and health check run from it.

Docker itself is not here.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser

from tests.command_line import answer, call, failure
from tests.export.deploy.command_words import parse
from tests.keys import write_keys
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.signature import open_signed, sign
from vegrt.export.deploy.docker.readme import BASE_MB, PACKAGES_MB
from vegrt.export.deploy.docker.write import image_name
from vegrt.export.deploy.packages import installed_versions
from vegrt.infer.machine.gpu_sets import CUDA13
from vegrt.version import __version__


@pytest.fixture(scope="module")
def written(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    shown: dict[str, Any] = answer("deploy", "docker", bundle.path, tmp_path_factory.mktemp("docker") / "out")
    return shown


@pytest.fixture(scope="module")
def folder(written: dict[str, Any]) -> Path:
    return Path(written["folder"])


def instructions(folder: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, with the comments left out."""
    lines = DockerfileParser(str(folder)).structure
    return [(line["instruction"], line["value"]) for line in lines if line["instruction"] != "COMMENT"]


def value_of(folder: Path, instruction: str) -> str:
    (value,) = [value for name, value in instructions(folder) if name == instruction]
    return value


def test_the_image_runs_the_service_as_a_user_of_its_own(folder: Path, bundle: Bundle) -> None:
    names = [name for name, _ in instructions(folder)]
    assert [value for name, value in instructions(folder) if name == "FROM"] == [
        "python:3.12-slim AS packages",
        "python:3.12-slim",
    ]
    assert value_of(folder, "USER") == "10001:10001"
    verified = [value for name, value in instructions(folder) if name == "RUN"][-1]
    assert verified.startswith("vegrt verify /bundle")
    assert names.index("USER") < len(names) - 1 - names[::-1].index("RUN"), "the bundle is verified as that user"
    program, *words = json.loads(value_of(folder, "ENTRYPOINT"))
    assert program == "/opt/vegrt/bin/vegrt"
    arguments = parse(words)
    assert (str(arguments["bundle"]), arguments["host"], arguments["port"]) == ("/bundle", "0.0.0.0", 8000)
    assert value_of(folder, "EXPOSE") == "8000"
    assert ("ENV", "ORT_DISABLE_TELEMETRY=1") in instructions(folder)


def test_buildkits_own_parser_reads_it(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    parser = pytest.importorskip("dockerfile", reason="BuildKit's parser has no wheel for this system")
    assert call("deploy", "docker", bundle.path, tmp_path / "gpu", "--gpu").exit_code == 0
    for out in (folder, tmp_path / "gpu"):
        commands = parser.parse_file(str(out / "Dockerfile"))
        assert [command.cmd.upper() for command in commands] == [name for name, _ in instructions(out)]
        (health,) = [command for command in commands if command.cmd.upper() == "HEALTHCHECK"]
        assert health.value[0] == "CMD"
        assert {flag.partition("=")[0] for flag in health.flags} >= {"--interval", "--timeout", "--start-period"}


def test_what_is_copied_is_there_and_nothing_else_is_sent(folder: Path) -> None:
    sources = {
        source
        for name, value in instructions(folder)
        if name == "COPY" and "--from" not in value
        for source in value.split()[:-1]
    }
    assert sources == {"bundle", "requirements.txt", "constraints.txt"}
    assert all((folder / source).exists() for source in sources)
    ignored = (folder / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert {line.removeprefix("!") for line in ignored[1:]} == sources


def test_the_bundle_inside_is_whole_and_readable_by_every_user(folder: Path, bundle: Bundle) -> None:
    assert open_bundle(folder / "bundle").sha256() == bundle.sha256()
    for path in (folder / "bundle").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_packages_have_the_versions_that_are_installed_here(folder: Path) -> None:
    assert (folder / "requirements.txt").read_text() == f"vegrt[cpu,serve]=={__version__}\n"
    pinned = dict(
        line.split("==") for line in (folder / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    assert pinned == installed_versions(("cpu", "serve"))
    assert {"numpy", "pillow", "onnxruntime", "fastapi", "starlette", "uvicorn", "pydantic-core"} <= pinned.keys()
    assert {"torch", "openvino", "vegrt"}.isdisjoint(pinned)


def test_the_readme_sums_up_parts_below_300_mb(folder: Path, bundle: Bundle) -> None:
    text = (folder / "README.md").read_text()
    numbers = [float(number) for number in re.findall(r"^\|.*?\| \**([\d.]+)\** \|", text, re.MULTILINE)]
    base, packages, without_bundle, inside, total = numbers
    assert without_bundle == pytest.approx(base + packages, abs=0.06)
    assert total == pytest.approx(without_bundle + inside, abs=0.06)
    size_bytes = sum(path.stat().st_size for path in (folder / "bundle").rglob("*") if path.is_file())
    assert inside == pytest.approx(size_bytes / 1e6, abs=0.06)
    assert BASE_MB + PACKAGES_MB["onnxruntime"] < 300
    assert "vegrt was not on PyPI when this was written" in text


@pytest.fixture
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[str]]]:
    """The entry point, run from the folder on a free port of this machine, and the health check's command for it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    entrypoint = [word.replace("0.0.0.0", "127.0.0.1") for word in json.loads(value_of(folder, "ENTRYPOINT"))[1:]]
    words = [str(folder / "bundle") if word == "/bundle" else port if word == "8000" else word for word in entrypoint]
    health = json.loads(value_of(folder, "HEALTHCHECK").partition("CMD ")[2])
    check = [sys.executable, *(word.replace("8000", port) for word in health[1:])]
    with subprocess.Popen([sys.executable, "-m", "vegrt.cli", *words], stderr=subprocess.DEVNULL) as process:
        yield process, check
        process.kill()


def test_the_health_check_follows_the_service(serving: tuple[subprocess.Popen[bytes], list[str]]) -> None:
    process, check = serving
    for _ in range(600):
        if subprocess.run(check, capture_output=True).returncode == 0:
            break
        assert process.poll() is None, "the service ended before it was ready"
        time.sleep(0.2)
    else:
        raise AssertionError("the health check never passed")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert subprocess.run(check, capture_output=True).returncode == 1


def test_a_gpu_image_has_the_packages_of_its_set_without_cuda(bundle: Bundle, tmp_path: Path) -> None:
    assert call("deploy", "docker", bundle.path, tmp_path / "out", "--gpu").exit_code == 0
    bases = [value.split()[0] for name, value in instructions(tmp_path / "out") if name == "FROM"]
    assert set(bases) == {"nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04"}
    own, ort, nvml = (tmp_path / "out/requirements.txt").read_text().splitlines()
    assert own == f"vegrt[serve]=={__version__}"
    assert ort == str(CUDA13.packages[0]).replace("[cuda,cudnn]", "")
    assert nvml.startswith("nvidia-ml-py")
    assert "--gpus all" in (tmp_path / "out/README.md").read_text()
    refused = call("deploy", "docker", bundle.path, tmp_path / "no", "--gpu", "--runtime", "mnn")
    assert refused.exit_code == 2
    assert not (tmp_path / "no").exists()


def test_a_wheel_travels_under_its_own_name(bundle: Bundle, tmp_path: Path) -> None:
    wheel = tmp_path / "vegrt-0.2.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("vegrt/__init__.py", "")
    out = tmp_path / "out"
    words = ("deploy", "docker", bundle.path, out, "--wheel", wheel, "--runtime", "mnn")
    assert wheel.name in answer(*words)["files"]
    assert (out / "requirements.txt").read_text() == f"./{wheel.name}[mnn,serve]\n"
    assert f"!{wheel.name}" in (out / ".dockerignore").read_text().splitlines()
    assert f"COPY requirements.txt constraints.txt {wheel.name} /packages/" in (out / "Dockerfile").read_text()
    for name in ("other-0.2.0-py3-none-any.whl", "vegrt-0.3.0-py3-none-any.whl"):
        (tmp_path / name).write_bytes(b"no archive")
        message = failure("deploy", "docker", bundle.path, tmp_path / "no", "--wheel", tmp_path / name)
        assert f"not a wheel of vegrt; expected a file such as vegrt-{__version__}-py3-none-any.whl" in message
    assert not (tmp_path / "no").exists()


def test_a_key_is_built_in_and_required(copied: Bundle, tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    out = tmp_path / "out"
    words = ("deploy", "docker", copied.path, out, "--public-key", keys.public)
    assert "no signature" in failure(*words)
    assert not out.exists()
    sign(copied.path, keys.private)
    assert call(*words).exit_code == 0
    assert (out / "key.pub").read_bytes() == keys.public.read_bytes()
    assert ("COPY", "key.pub /key.pub") in instructions(out)
    assert "vegrt verify /bundle --public-key /key.pub " in (out / "Dockerfile").read_text()
    assert str(parse(json.loads(value_of(out, "ENTRYPOINT"))[1:])["public_key"]) == "/key.pub"
    assert (out / "requirements.txt").read_text() == f"vegrt[cpu,serve,sign]=={__version__}\n"
    assert open_signed(out / "bundle", out / "key.pub").signed is not None


def test_only_a_folder_of_this_command_is_replaced(written: dict[str, Any], bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(written["folder"], out)
    (out / "own.txt").write_text("mine")
    words = ("deploy", "docker", bundle.path, out)
    assert "holds a folder of vegrt deploy docker; choose another path, or replace it with --overwrite" in failure(
        *words
    )
    assert call(*words, "--overwrite").exit_code == 0
    assert not (out / "own.txt").exists()
    (out / "docker.json").unlink()
    assert "exists and is not a folder of vegrt deploy docker" in failure(*words, "--overwrite")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(("name", "tag"), [("ResNet_18", "resnet-18"), ("é/ü", "model"), ("a--b", "a-b"), ("..x", "x")])
def test_the_name_of_an_image_has_only_what_registries_take(name: str, tag: str) -> None:
    assert image_name(name) == tag
