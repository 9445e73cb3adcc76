"""Imports run one way: lazy ones and those for types only count as well."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/vegrt"
# From the ground up. A module belongs to the longest name that it begins with, and imports from its own line and those above it.
ORDER = (
    (
        *("vegrt.version", "vegrt.errors", "vegrt.schema", "vegrt.protobuf", "vegrt.machine", "vegrt.timing"),
        "vegrt.callable_stage",
    ),
    ("vegrt.files",),
    ("vegrt.terminal",),
    ("vegrt.photo",),
    ("vegrt.dataset",),
    ("vegrt.bundle",),
    ("vegrt.backbones",),
    ("vegrt.networks",),
    ("vegrt.results",),
    ("vegrt.infer.machine", "vegrt.infer.decode"),
    ("vegrt.infer.runtimes",),
    ("vegrt.infer.trust",),
    ("vegrt.infer.drift",),
    ("vegrt.infer.sources",),
    ("vegrt.infer.outputs",),
    ("vegrt.infer",),
    ("vegrt.infer.serve", "vegrt.infer.ray"),
    ("vegrt.evaluate",),
    ("vegrt.evaluate.trust",),
    ("vegrt.evaluate.benchmark",),
    ("vegrt.calibration.graph",),
    ("vegrt.calibration",),
    ("vegrt.export",),
    ("vegrt.train",),
    ("vegrt.report",),
    ("vegrt.commands.options",),
    ("vegrt.api",),
    ("vegrt.commands",),
    ("vegrt.cli", "vegrt"),
)


def modules() -> dict[str, Path]:
    """Return all modules of the package by name, those behind the links of the stages too."""
    files = [path for top in (PACKAGE, *PACKAGE.iterdir()) if top.is_dir() for path in top.glob("**/*.py")]
    names = {file: ".".join(("vegrt", *file.relative_to(PACKAGE).with_suffix("").parts)) for file in files}
    return {name.removesuffix(".__init__"): file for file, name in names.items()}


def imported(file: Path, known: set[str]) -> set[str]:
    """Return the modules of ours that a file imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            both = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            names |= {full if full in known else node.module for full in both.values()}
    return names & known


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    files = modules()
    return {name: imported(file, set(files)) - {name} for name, file in files.items()}


def level(module: str) -> int:
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        if levels := [number for number, names in enumerate(ORDER) if name in names]:
            return levels[0]
    raise AssertionError(module)


def test_no_import_runs_back_up(imports: dict[str, set[str]]) -> None:
    assert {name.split(".")[1] for name in imports if "." in name} >= {
        "train",
        "infer",
        "evaluate",
        "report",
        "commands",
    }
    backwards = [
        f"{name} -> {imported}"
        for name, others in imports.items()
        for imported in others
        if level(imported) > level(name)
    ]
    assert backwards == []


def test_no_room_of_the_ground_floor_is_forgotten(imports: dict[str, set[str]]) -> None:
    assert [name for name in imports if name.count(".") == 1 and level(name) == level("vegrt")] == [
        "vegrt.cli",
        "vegrt.__main__",
    ]


def test_imports_have_no_circle(imports: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None
