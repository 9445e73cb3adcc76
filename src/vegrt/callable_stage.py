"""Stages that can be called: `vegrt.train` is a package, and `vegrt.train(...)` calls the function of the API (decision 0049)."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


class CallableStage(ModuleType):
    """A package whose call is that of the function of the same name in a module of vegrt.api."""

    api_module: str

    @property
    def function(self) -> Callable[..., Any]:
        """Return the function. Its module is above the stages, so it is named, not imported, until it is called."""
        function: Callable[..., Any] = getattr(import_module(self.api_module), self.__name__.rpartition(".")[2])
        return function

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.function.__doc__

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function of the API."""
        return self.function(*args, **kwargs)


def make_callable(package: str, api_module: str) -> None:
    """Make calls of a package those of the function of its name in `api_module`. Called by the package itself."""
    module = sys.modules[package]
    module.__class__ = CallableStage
    module.__dict__["api_module"] = api_module
