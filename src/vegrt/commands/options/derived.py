"""Commands whose options are the keywords of a function of the API: name, type, default, help and range are stated once, there.

A function states them as `Annotated[type, typer.Option(...)]`, with the type that Python code gives. The types of the command
line follow:

    str | Path                 Path
    Sequence[X]                list[X]: the option is repeatable
    Literal["a", "b"]          one of these texts
    any type with a `parser`   a text that the parser reads
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from typer.models import ParameterInfo

from vegrt.commands.options.numbers import text_of
from vegrt.errors import ArgumentError

_Command = TypeVar("_Command", bound=Callable[..., None])
PROGRESS = "progress"  # the keyword that no command has
_PROGRESS_HELP = "Show progress bars on stderr, or do not; None: if it is a terminal."
_UNIONS = (Union, types.UnionType)


def options_of(function: Callable[..., Any]) -> Callable[[_Command], _Command]:
    """Return a decorator that gives a command the options of a function, before its own. It gets them as keyword arguments."""

    def decorated(command: _Command) -> _Command:
        own = [
            item.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for item in inspect.signature(command, eval_str=True).parameters.values()
            if item.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        parameters, names = [*map(_of_command_line, keywords(function)), *own], {item.name for item in own}

        @wraps(command)
        def run(**values: Any) -> None:
            command(**{name: value if name in names else _plain(value) for name, value in values.items()})

        del run.__wrapped__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {item.name: item.annotation for item in parameters}
        return run  # type: ignore[return-value]

    return decorated


@cache
def keywords(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """Return the parameters of a function of the API, with annotations in place of their texts."""
    return tuple(item for item in _parameters(inspect.unwrap(function)) if item.name != PROGRESS)


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function of the API with plain types in place of options, as people read it."""
    parameters = [item.replace(annotation=_without_option(item.annotation)) for item in _parameters(function)]
    return inspect.signature(function).replace(parameters=parameters)


def describe(parameters: Sequence[inspect.Parameter]) -> str:
    """Return the arguments of a function as a list for its docstring, with the help of their options."""
    lines = [f"* ``{item.name}``: {_parts(item)[1].help}" for item in parameters]
    return "\n".join(["Arguments:", "", *lines, f"* ``{PROGRESS}``: {_PROGRESS_HELP}"])


def check_arguments(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Raise ArgumentError for an argument out of the range or the choices that its option states."""
    for item in keywords(function):
        value, (kind, info) = arguments[item.name], _parts(item)
        if value is None or info.parser is not None:
            continue
        choices = get_args(_without_none(kind)) if _is_literal(_without_none(kind)) else ()
        if choices and value not in choices:
            raise ArgumentError(f"{item.name} {value!r}: expected one of {', '.join(map(str, choices))}")
        low, high = getattr(info, "min", None), getattr(info, "max", None)
        is_number = isinstance(value, int | float)
        if low is not None and not (is_number and low <= value <= (value if high is None else high)):
            limit = f"{low} or more" if high is None else f"{low} to {high}"
            raise ArgumentError(f"{item.name} {value!r}: expected {limit}")


def flag_of(item: inspect.Parameter, value: Any) -> str:
    """Return the long name of an option; for a switch that was turned off, its --no- name."""
    _, info = _parts(item)
    first = info.default if isinstance(info.default, str) else None
    declared = [name for name in (first, *(info.param_decls or ())) if name]
    on, _, off = max(declared or [f"--{item.name.replace('_', '-')}"], key=len).partition("/")
    return off if value is False and off else on


def is_argument(item: inspect.Parameter) -> bool:
    """Return whether a parameter has no flag on the command line."""
    return type(_parts(item)[1]).__name__ == "ArgumentInfo"


def takes_a_path(item: inspect.Parameter) -> bool:
    """Return whether a parameter is a file or folder, or several."""
    return Path in _leaves(_parts(item)[0])


def has_parser(item: inspect.Parameter) -> bool:
    """Return whether a parameter is written as a text of its own on the command line."""
    return _parts(item)[1].parser is not None


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function with annotations in place of their texts."""
    parameters = [
        item
        for item in inspect.signature(function).parameters.values()
        if item.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    # without the return type, which may be known to type checkers only
    annotated = types.SimpleNamespace(__annotations__={item.name: item.annotation for item in parameters})
    hints = get_type_hints(annotated, function.__globals__, include_extras=True)
    return [item.replace(annotation=hints[item.name]) for item in parameters]


def _without_option(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _parts(item: inspect.Parameter) -> tuple[Any, ParameterInfo]:
    kind, *metadata = get_args(item.annotation)
    (info,) = (entry for entry in metadata if isinstance(entry, ParameterInfo))
    return kind, info


def _of_command_line(item: inspect.Parameter) -> inspect.Parameter:
    kind, info = _parts(item)
    annotated: Any = Annotated
    default = item.default
    if info.parser is not None:
        converted: Any = str if default is not None else str | None
        default = default if default in (None, inspect.Parameter.empty) else text_of(default)
    else:
        converted = _converted(kind, item.name)
    return item.replace(
        kind=inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotated[converted, info], default=default
    )


def _converted(kind: Any, name: str) -> Any:
    """Return the type of the command line for a type of Python code."""
    if get_origin(kind) in _UNIONS:
        members = [member for member in get_args(kind) if member is not type(None)]
        several = [member for member in members if get_origin(member) is Sequence]
        inner = Path if Path in members and not several else _converted([*several, *members][0], name)
        return inner | None if type(None) in get_args(kind) else inner
    if _is_literal(kind):
        values = {str(value): value for value in get_args(kind)}
        return Enum(f"{name}_choice", values, type=str)
    if get_origin(kind) is Sequence:
        (inner,) = get_args(kind)
        converted: Any = list
        return converted[_converted(inner, name)]
    return kind


def _leaves(kind: Any) -> set[Any]:
    parts = get_args(kind)
    return {kind} if not parts or _is_literal(kind) else set().union(*map(_leaves, parts))


def _without_none(kind: Any) -> Any:
    members = [member for member in get_args(kind) if member is not type(None)]
    return members[0] if get_origin(kind) in _UNIONS and len(members) == 1 else kind


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
