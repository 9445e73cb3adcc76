"""Options for recipe entries, generated from the fields of the recipe, for `vegrt train` and `vegrt tune`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from vegrt.train.recipe import ENTRIES, TYPES, flag_help

RecipeOption = Annotated[
    Path | None, typer.Option("--recipe", help="TOML file with recipe entries; flags take precedence over it.")
]
RunsOption = Annotated[Path, typer.Option("--runs", help="SQLite file in which every epoch is recorded.")]
FLAGS = tuple(name for name, entry in ENTRIES.items() if entry.has_flag)

_Command = TypeVar("_Command", bound=Callable[..., None])


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


def _parameter(name: str) -> inspect.Parameter:
    annotated: Any = Annotated
    annotation = annotated[TYPES[name] | None, typer.Option(help=flag_help(name))]
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=annotation)
