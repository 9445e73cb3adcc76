"""Options for recipe entries, generated from the fields of the recipe, for `vegrt train` and `vegrt tune`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from vegrt.train.recipe import ENTRIES, TYPES, flag_help

_RECIPE = typer.Option("--recipe", help="TOML file with recipe entries; flags take precedence over it.")
RecipeOption = Annotated[Path | None, _RECIPE]
RecipePath = Annotated[str | Path | None, _RECIPE]
_RUNS = typer.Option("--runs", help="SQLite file in which every epoch is recorded.")
RunsOption = Annotated[Path, _RUNS]
RunsPath = Annotated[str | Path, _RUNS]
FLAGS = tuple(name for name, entry in ENTRIES.items() if entry.has_flag)

_Command = TypeVar("_Command", bound=Callable[..., None])
_Function = TypeVar("_Function", bound=Callable[..., Any])


def recipe_options(names: Collection[str] = FLAGS) -> Callable[[_Command], _Command]:
    """Return a decorator that adds an option for each of these recipe entries to a command.

    The command gets them as keyword arguments; an option that was not given is None.
    """

    def decorated(command: _Command) -> _Command:
        signature = inspect.signature(command, eval_str=True)
        own = [item for item in signature.parameters.values() if item.kind is not inspect.Parameter.VAR_KEYWORD]
        generated = [_parameter(name) for name in FLAGS if name in names]
        command.__signature__ = signature.replace(parameters=[*own, *generated])  # type: ignore[attr-defined]
        return command

    return decorated


def recipe_keywords(function: _Function) -> _Function:
    """Show all recipe entries in the signature of a function of the API that takes them as `**settings`."""
    signature = inspect.signature(function)
    own = [item for item in signature.parameters.values() if item.kind is not inspect.Parameter.VAR_KEYWORD]
    generated = [_parameter(name).replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in FLAGS]
    function.__signature__ = signature.replace(parameters=[*own, *generated])  # type: ignore[attr-defined]
    return function


def _parameter(name: str) -> inspect.Parameter:
    annotated: Any = Annotated
    annotation = annotated[TYPES[name] | None, typer.Option(help=flag_help(name))]
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=annotation)
