"""The lower limits of pyproject.toml are the versions that are tested, and those that SECURITY.md gives reasons for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from vegrt.files.toml import read_toml

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "tests/constraints-lowest.txt"


def requirements() -> list[Requirement]:
    """Return what the package, its extras and its build need, without references to its own extras."""
    project = read_toml(ROOT / "pyproject.toml", "project")
    extras = project["project"]["optional-dependencies"].values()
    lists = [project["build-system"]["requires"], project["project"]["dependencies"], *extras]
    found = [Requirement(text) for texts in lists for text in texts]
    return [requirement for requirement in found if requirement.name != "vegrt"]


def lowest(requirement: Requirement) -> str:
    (limit,) = (specifier.version for specifier in requirement.specifier if specifier.operator in (">=", "=="))
    return limit


def gpu_only(requirement: Requirement) -> bool:
    """Return whether a package is in several sets that exclude each other: infer/machine/gpu_sets.py."""
    return bool(re.match(r"onnxruntime-gpu|tensorrt-cu|cuda-bindings", requirement.name))


def test_every_dependency_has_one_lower_limit() -> None:
    limits: dict[str, set[str]] = {}
    for requirement in requirements():
        if not gpu_only(requirement):
            limits.setdefault(requirement.name.lower(), set()).add(lowest(requirement))
    assert {name: found for name, found in limits.items() if len(found) > 1} == {}


def test_the_lowest_versions_that_are_tested_are_the_limits() -> None:
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    tested = [line for line in lines if not line.startswith("#")]
    limits = {
        requirement.name.lower(): lowest(requirement) for requirement in requirements() if not gpu_only(requirement)
    }
    assert tested == [f"{name}=={version}" for name, version in sorted(limits.items())]


def reasons() -> list[tuple[str, str]]:
    """Return packages and lower limits, each as one text, of the lines in the policy's table."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## Dependencies")[2]
    return re.findall(r"^\| ([a-z0-9-]+(?:, [a-z0-9-]+)*)[^|]*\| ([0-9., ]+) \|", text, re.MULTILINE)


@pytest.mark.parametrize(("packages", "versions"), reasons())
def test_the_limits_are_those_that_the_policy_gives_reasons_for(packages: str, versions: str) -> None:
    limits = {
        requirement.name.lower(): lowest(requirement) for requirement in requirements() if not gpu_only(requirement)
    }
    for name, version in zip(packages.split(", "), versions.split(", "), strict=True):
        assert Version(limits[name]) == Version(version)


def test_the_workflow_names_what_is_there() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"run: make ([a-z-]+)", text)) <= targets
    files = set(re.findall(r"(?:tests/[a-z_/.-]+)", text))
    assert files
    assert all((ROOT / file).is_file() for file in files)
    extras = {name for names in re.findall(r"'\.\[([a-z,]+)\]'", text) for name in names.split(",")}
    assert extras <= read_toml(ROOT / "pyproject.toml", "project")["project"]["optional-dependencies"].keys()
    oldest = re.search(r'requires-python = ">=([0-9.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert oldest
    assert f'python-version: "{oldest[1]}"' in text
