"""What all functions of the API do when they are called: they check arguments, record the call, show progress or do not."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from vegrt.commands.options.derived import describe, keywords, signature_of
from vegrt.commands.options.recorded import recorded
from vegrt.terminal.progress import showing_progress

P = ParamSpec("P")
R = TypeVar("R")
_record: ContextVar[dict[str, Any]] = ContextVar("vegrt.api.call")


def api_function(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with its arguments checked, and with them described in its docstring.

    All of its keywords but `progress` are options of the command of the same name. A call raises ArgumentError for an argument
    that its option does not allow.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        token = _record.set(recorded(function, bound.arguments))
        try:
            with showing_progress(bound.arguments.get("progress")):
                return function(*args, **kwargs)
        finally:
            _record.reset(token)

    checked.__signature__ = signature_of(function)  # type: ignore[attr-defined]
    checked.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{describe(keywords(function))}"
    return checked


def this_call() -> dict[str, Any]:
    """Return the running call of a function of the API as results record it: {"name", "options"} of the command."""
    return _record.get()
