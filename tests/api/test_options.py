"""Each command has the options of its function: names, defaults and help are stated once. And each function can be called."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from enum import Enum
from typing import Any, get_type_hints

import pytest
import typer

import vegrt
from vegrt.cli import app
from vegrt.commands.options.derived import PROGRESS, flag_of, keywords
from vegrt.commands.options.numbers import text_of
from vegrt.train.recipe import TYPES, Recipe, Settings

COMMANDS: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]
NAMES = ("train", "export", "calibrate", "evaluate", "robustness", "bench", "report", "trust")
OF_COMMANDS_ONLY = {"as_json", "inconclusive", "junit", "github_summary"}  # how it is shown, and how it exits


def function(name: str) -> Any:
    value = getattr(vegrt, name)
    return getattr(value, "function", value)


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", NAMES)
def test_options_are_the_keywords(name: str) -> None:
    options = {option.name: option for option in COMMANDS[name].params if not getattr(option, "hidden", False)}
    taken = {item.name: item for item in keywords(function(name))}
    assert options.keys() - taken.keys() - OF_COMMANDS_ONLY == set()
    assert len(taken) > 4
    for item in taken.values():
        option = options[item.name]
        assert option.required == (item.default is inspect.Parameter.empty), item.name
        if not option.required:
            assert plain(option.default) in (item.default, text_of(item.default)), item.name
        if option.param_type_name == "option":
            assert flag_of(item, True) in option.opts
        assert f"* ``{item.name}``: {option.help}" in (function(name).__doc__ or "")
    assert PROGRESS in inspect.signature(function(name)).parameters


def test_settings_are_the_recipe() -> None:
    settings = get_type_hints(Settings)
    hidden = {"qat_sha256"}
    assert settings.keys() == {field.name for field in fields(Recipe)} - hidden
    own = get_type_hints(Recipe)
    assert all(settings[name] == own[name] | None for name in settings)
    assert settings.keys() == TYPES.keys() - hidden
    assert settings.keys() <= inspect.signature(function("train")).parameters.keys()


@pytest.mark.parametrize(
    "imports",
    ["import vegrt", "import vegrt.train.recipe", "import vegrt.api.training", "from vegrt.train import recipe"],
)
def test_a_stage_can_be_called_whatever_was_imported_before(imports: str) -> None:
    program = (
        f"{imports}; import vegrt, inspect, sys; from vegrt import train, evaluate; assert train is vegrt.train;"
        "import vegrt.train.recipe; assert train is vegrt.train and vegrt.train.recipe.Recipe;"
        "assert 'epochs' in inspect.signature(vegrt.train).parameters;"
        "assert inspect.getdoc(vegrt.export) == inspect.getdoc(vegrt.export.function);"
        "assert callable(vegrt.export) and callable(vegrt.report) and vegrt.trust;"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules, 'too much is loaded'\n"
        "try: vegrt.evaluate()\n"
        "except TypeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "missing a required argument: 'bundle'\n", done.stderr


def test_all_public_names_are_there() -> None:
    assert {*NAMES, "load"} <= {*vegrt.__all__} <= {*dir(vegrt)}
    assert all(getattr(vegrt, name) is not None for name in vegrt.__all__)
