"""The package as users get it: links, wheel, help, and what importing the command line costs."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import call

ROOT = Path(__file__).parents[1]
SOURCE_KINDS = ("py", "html", "css", "js")  # pages of the report are made from the last three
STAGES = ("calibration", "evaluate", "export", "infer", "report", "train")
DATA_AND_RUNS = ("data sample", "data fetch", "data audit", "runs", "runs show", "runs compare")
DEPLOYING = ("deploy triton", "deploy docker", "deploy kserve", "deploy jetson", "deploy raspberrypi", "deploy kit")
SHIPPING = ("bundle pack", "bundle unpack", "bundle sbom", "bundle sign", *DEPLOYING)
COMMANDS = (*DATA_AND_RUNS, "train", "tune", "export", "evaluate", "bench", "infer", "report")


def usage_of(command: str) -> str:
    result = call(*command.split(), "--help")
    assert result.exit_code == 0, command
    return result.stdout


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_is_a_link_to_its_top_level_folder(stage: str) -> None:
    link = ROOT / "src/vegrt" / stage
    assert link.is_symlink()
    assert link.readlink() == Path("../..") / stage
    assert (link / "__init__.py").is_file()


def test_a_wheel_holds_every_stage_as_real_files_and_nothing_else(tmp_path: Path) -> None:
    """It is built from a copy: what earlier builds left beside the sources would be packed too."""
    for name in ("src", *STAGES):
        leftovers = shutil.ignore_patterns("*.egg-info", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "vegrt" / name, symlinks=True, ignore=leftovers)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "vegrt")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(tmp_path), str(tmp_path / "vegrt")], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"vegrt"}
    assert "vegrt/py.typed" in names
    for stage in STAGES:
        sources = {path.name for kind in SOURCE_KINDS for path in (ROOT / stage).rglob(f"*.{kind}")}
        assert {name.split("/")[-1] for name in names if name.startswith(f"vegrt/{stage}/")} == sources
    infos = zipfile.ZipFile(wheel).infolist()
    assert not any(info.external_attr >> 16 & 0o170000 == 0o120000 for info in infos)  # no symbolic link


def test_a_checkout_without_links_is_not_built(tmp_path: Path) -> None:
    """Git writes text files in their place where `core.symlinks` is false, and setuptools would leave the stages out."""
    shutil.copy(ROOT / "setup.py", tmp_path)
    shutil.copytree(
        ROOT / "src/vegrt", tmp_path / "src/vegrt", symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    for stage in STAGES:
        link = tmp_path / "src/vegrt" / stage
        content = str(link.readlink())
        link.unlink()
        link.write_text(content)
    build = subprocess.run(
        [sys.executable, "setup.py", "--name"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert build.returncode == 1
    (line,) = build.stderr.splitlines()
    assert line.startswith("src/vegrt/calibration: not a link to a folder (of calibration, evaluate, export")
    assert "core.symlinks=true" in line


def test_the_command_line_loads_nothing_heavy() -> None:
    program = "import sys, vegrt.cli; vegrt.cli.app; print(*(name.partition('.')[0] for name in sys.modules))"
    loaded = set(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.split())
    assert "typer" in loaded
    assert (
        not {
            "torch",
            "torchvision",
            "onnx",
            "onnx_ir",
            "onnxruntime",
            "openvino",
            "numpy",
            "PIL",
            "altair",
            "optuna",
            "filelock",
        }
        & loaded
    )


def test_inference_never_imports_torch(bundle_path: str, photo: str) -> None:
    program = (
        "import sys; from vegrt.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "print('TORCH' if 'torch' in sys.modules or 'onnx' in sys.modules else 'LEAN')"
    )
    words = ["infer", photo, "--bundle", bundle_path]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "LEAN", done.stderr


@pytest.fixture(scope="module")
def bundle_path(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("bundle").path)


@pytest.fixture(scope="module")
def photo(photos: Path) -> str:
    return str(photos / "test/Beet/000.jpg")


@pytest.mark.parametrize(
    "command", [*COMMANDS, *SHIPPING, "verify", "doctor", "serve", "runs delete", "contract guess"]
)
def test_every_command_explains_itself(command: str) -> None:
    assert "Usage" in usage_of(command)


def test_every_file_that_the_guide_for_contributors_names_exists() -> None:
    text = (ROOT / "docs/contributing.md").read_text(encoding="utf-8")
    places = re.findall(r"`((?:[a-z_]+/)+[a-z_-]*(?:\.[a-z]+)?)`", text)
    assert len(places) > 50
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_every_test_that_the_docs_name_exists() -> None:
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "docs").rglob("*.md")))
    mentions = re.findall(r"(tests/[\w/]+\.py)((?:(?:, )?::\w+)*)", text)
    assert len(mentions) > 50
    for file, names in mentions:
        functions = re.findall(r"def (\w+)", (ROOT / file).read_text())
        assert not {*re.findall(r"\w+", names)} - {*functions}, file


def private_names(tree: ast.AST) -> Iterator[str]:
    """Yield the private names of others that a test imports, reads or replaces, with their line."""
    for node in ast.walk(tree):
        names: list[str] = []
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in OWN):
            names = [node.attr]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr.endswith("setattr"):
            names = [str(argument.value) for argument in node.args[:2] if isinstance(argument, ast.Constant)]
        yield from (f"{line}: {name}" for name in names if re.search(r"(^|\.)_[^_]", name))


OWN = ("self", "cls", "os")  # os._exit has no public form


@pytest.mark.parametrize(
    "line",
    [
        "from vegrt.files.atomic import _write",
        "runner._session.run()",
        "patch.setattr(module, '_LIMIT', 1)",
        "monkeypatch.setattr('vegrt.files.atomic._LIMIT', 1)",
    ],
)
def test_a_private_name_in_a_test_is_found(line: str) -> None:
    assert len(list(private_names(ast.parse(line)))) == 1
    assert not list(private_names(ast.parse("self._started = os._exit")))


def test_no_test_reaches_a_private_name() -> None:
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert len(files) > 100
    assert [f"{file}:{name}" for file in files for name in private_names(ast.parse(file.read_text()))] == []
