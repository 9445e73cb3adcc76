"""The vegrt command: exit codes, logging, and which commands there are.

Exit codes: 0 done, 1 a VegrtError (one line on stderr), 2 wrong usage, 3 gate FAIL, 4 gate INCONCLUSIVE, 130 interrupted,
141 whoever read our output left.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vegrt.errors import VegrtError
from vegrt.files.text import printable
from vegrt.terminal.interrupts import terminate_as_interrupt
from vegrt.terminal.streams import ReaderLeft, open_missing_streams
from vegrt.version import __version__

_GROUPS = ("data", "runs", "bundle", "deploy")
_HOMES = {  # command: the module of vegrt.commands that has it
    "data": "data",
    "runs": "runs",
    "bundle": "bundles",
    "deploy": "deploy",
    "train": "training",
    "tune": "tuning",
    "export": "exporting",
    "calibrate": "exporting",
    "evaluate": "evaluation",
    "robustness": "evaluation",
    "bench": "benchmarking",
    "compare": "benchmarking",
    "infer": "inference",
    "serve": "serving",
    "report": "reporting",
    "verify": "evaluation",
    "doctor": "inference",
}


_UsageError: Any = typer.BadParameter.__mro__[1]  # typer exports no more of them


class _Group(TyperGroup):
    """Turns expected failures into one line and an exit code; anything else keeps its traceback."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        with _ending():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        with _ending():
            return super().invoke(ctx)


@contextmanager
def _ending() -> Iterator[None]:
    try:
        yield
    except VegrtError as error:
        _say(re.sub(r"\s+", " ", str(error).strip(), flags=re.ASCII))
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        _say(f"interrupted; {error}" if str(error) else "interrupted")
        raise SystemExit(130) from error
    except ReaderLeft as error:  # `vegrt infer ... | head`
        raise SystemExit(141) from error
    except _UsageError as error:  # it quotes what was typed, and so a file name that a pattern matched
        error.message = printable(error.message)
        raise


def _say(text: str) -> None:
    typer.echo(f"vegrt: {printable(text)}", err=True)


class _OneLine(logging.Formatter):
    """Messages name files, and a file name may hold anything."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))


def application(names: Collection[str] = tuple(_HOMES)) -> typer.Typer:
    """Return the command line with these commands. Fewer start faster: each costs its module and 2 ms (decision 0013)."""
    made = typer.Typer(
        cls=_Group, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
    )
    made.callback(invoke_without_command=True)(_common)
    for name in names:
        module = import_module(f"vegrt.commands.{_HOMES[name]}")
        if name in _GROUPS:
            made.add_typer(module.app, name=name)
        else:
            made.command(name)(getattr(module, name))
    return made


def main() -> None:
    """Run the command line; where its first word is a command, with that one alone. SIGTERM ends it as Ctrl-C does."""
    open_missing_streams()
    terminate_as_interrupt()
    first = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    application((first,) if first in _HOMES else tuple(_HOMES))()


def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors on stderr.")] = False,
) -> None:
    """Image classifiers as ONNX, FP16, INT8 and TensorRT files, with evidence that accuracy survived."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("vegrt: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("vegrt").setLevel(logging.WARNING if quiet else logging.INFO)
    if version:
        typer.echo(f"vegrt {__version__}")
        raise typer.Exit


def __getattr__(name: str) -> typer.Typer:
    """Return `app`, the whole command line, made when somebody asks for it (PEP 562)."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return application()


if __name__ == "__main__":
    main()
