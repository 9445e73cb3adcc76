"""What users install: the wheel and the source distribution, built from a copy of this checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.slow.release import build, check_metadata, check_version
from vegrt.version import __version__

ROOT = Path(__file__).parents[1]
SOURCE_KINDS = ("py", "html", "css", "js")  # pages of the report are made from the last three
STAGES = ("calibration", "evaluate", "export", "infer", "report", "train")
EPOCH = 1_600_000_000


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy: what earlier builds left beside the sources would be packed too."""
    folder = tmp_path_factory.mktemp("release") / "vegrt"
    for name in ("src", *STAGES):
        leftovers = shutil.ignore_patterns("*.egg-info", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=leftovers)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def built(checkout: Path) -> tuple[Path, Path]:
    """Return the source distribution and the wheel that was built from it."""
    return build(checkout, checkout.parent / "dist", EPOCH)


def test_a_wheel_holds_every_stage_as_real_files_and_nothing_else(built: tuple[Path, Path]) -> None:
    _, wheel = built
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"vegrt"}
    assert "vegrt/py.typed" in names
    for stage in STAGES:
        sources = {path.name for kind in SOURCE_KINDS for path in (ROOT / stage).rglob(f"*.{kind}")}
        assert {name.split("/")[-1] for name in names if name.startswith(f"vegrt/{stage}/")} == sources
    infos = zipfile.ZipFile(wheel).infolist()
    assert not any(info.external_attr >> 16 & 0o170000 == 0o120000 for info in infos)  # no symbolic link


def test_the_wheel_runs_in_a_fresh_environment(built: tuple[Path, Path], tmp_path: Path) -> None:
    """Its dependencies are those of this environment, whose vegrt is hidden: nothing is downloaded."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", f"--target={site}"]
    subprocess.run([*install, str(built[1])], check=True, capture_output=True)
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    program = (
        "import vegrt, json, sys; from vegrt.cli import main; print(json.dumps(vegrt.__file__), flush=True); main()"
    )
    words = [str(tmp_path / "venv/bin/python"), "-I", "-c", program, "--version"]
    place, version = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    assert Path(json.loads(place)).is_relative_to(site)
    assert version.endswith(__version__)


def test_the_same_sources_give_the_same_wheel(built: tuple[Path, Path], checkout: Path, tmp_path: Path) -> None:
    """Also from other folders, at another time: two people can compare what they built."""
    shutil.copytree(checkout, tmp_path / "elsewhere", symlinks=True)
    for file in (tmp_path / "elsewhere").rglob("*.py"):
        file.touch()
    _, again = build(tmp_path / "elsewhere", tmp_path / "dist", EPOCH)
    assert again.read_bytes() == built[1].read_bytes()


def test_pypi_would_take_both_files(built: tuple[Path, Path]) -> None:
    check_metadata(built)


def test_program_and_changelog_have_the_version_of_the_wheel(built: tuple[Path, Path], checkout: Path) -> None:
    assert check_version(built[1], checkout) == __version__
    changelog = checkout / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace(f"## [{__version__}]", "## [0.0.0]"))
    with pytest.raises(SystemExit, match=r"CHANGELOG\.md does not have"):
        check_version(built[1], checkout)


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
