"""The command line: commands, exit codes and logging.

Exit codes: 0 success, 1 a VegrtError or an error of the system (one line on stderr), 2 wrong usage, 3 gate FAIL or drift,
4 gate INCONCLUSIVE or too few photos for drift, 130 interrupted, 141 the reader of stdout closed it, as in
`vegrt infer ... | head`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vegrt.errors import ArgumentError, VegrtError, system_error_text
from vegrt.files.text import printable
from vegrt.terminal.interrupts import terminate_as_interrupt
from vegrt.terminal.streams import ReaderLeft, open_missing_streams
from vegrt.version import __version__

_GROUPS = ("data", "runs", "bundle", "deploy", "contract")
_MODULES = {  # command: its module in vegrt.commands
    "data": "data",
    "runs": "runs",
    "bundle": "bundles",
    "deploy": "deploy",
    "contract": "contracts",
    "train": "training",
    "tune": "tuning",
    "export": "exporting",
    "calibrate": "exporting",
    "trust": "trust",
    "drift": "drift",
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

_UsageError: Any = typer.BadParameter.__mro__[1]  # click's base class, which typer does not export


class _Group(TyperGroup):
    """The group of all commands; turns expected failures into one line and an exit code."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        with _ending():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        with _ending():
            return super().invoke(ctx)


@contextmanager
def _ending() -> Iterator[None]:
    """Turn expected failures and those of the system into one line and an exit code; anything else keeps its traceback.

    Whoever opens a file says what its failure means; an OSError that arrives here was not expected (docs/decisions/0046).
    """
    try:
        yield
    except VegrtError as error:
        _print_error(re.sub(r"\s+", " ", str(error).strip(), flags=re.ASCII))
        raise SystemExit(2 if isinstance(error, ArgumentError) else 1) from error
    except OSError as error:
        if error.errno is None:  # made by a library, without a call of the system
            raise
        _print_error(system_error_text(error))
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        _print_error(f"interrupted; {error}" if str(error) else "interrupted")
        raise SystemExit(130) from error
    except ReaderLeft as error:
        raise SystemExit(141) from error
    except _UsageError as error:  # its message quotes the arguments, so it may contain any file name
        error.message = printable(error.message)
        raise


def _print_error(text: str) -> None:
    typer.echo(f"vegrt: {printable(text)}", err=True)


class _OneLine(logging.Formatter):
    """Escapes control characters in messages, because a file name may contain any."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))


def application(names: Collection[str] = tuple(_MODULES), *, completion: bool = True) -> typer.Typer:
    """Return the command line with these commands. Each takes 2 ms and the import of its module (docs/decisions/0013).

    completion: whether it completes command lines in shells, and has the options that install that.
    """
    commands = typer.Typer(
        cls=_Group,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=completion,
        rich_markup_mode=None,
    )
    commands.callback(invoke_without_command=True)(_common)
    for name in names:
        module = import_module(f"vegrt.commands.{_MODULES[name]}")
        if name in _GROUPS:
            commands.add_typer(module.app, name=name)
        else:
            commands.command(name)(getattr(module, name))
    return commands


def main() -> None:
    """Run the command line; load only the command that is called. SIGTERM ends it as Ctrl-C does."""
    open_missing_streams()
    terminate_as_interrupt()
    completed = _completed_words(os.environ)
    words = sys.argv[1:] if completed is None else completed
    first = next((word for word in words if not word.startswith("-")), "")
    with _ending():  # Ctrl-C while a command's module is being imported
        if first in _MODULES:
            application((first,), completion=completed is not None)()
        application()()


def _completed_words(environ: Mapping[str, str]) -> list[str] | None:
    """Return the words after the program's name that a shell wants completed, as typer's scripts pass them; None without one."""
    if not any(name.startswith("_") and name.endswith("_COMPLETE") and "VEGRT" in name for name in environ):
        return None
    return environ.get("COMP_WORDS", environ.get("_TYPER_COMPLETE_ARGS", "")).split()[1:]


def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --version: print Python, the runtimes and the platform too.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log only warnings and errors.")] = False,
) -> None:
    """Export, quantize and run image classifiers with ONNX and TensorRT, and measure the accuracy that is lost."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("vegrt: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("vegrt").setLevel(logging.WARNING if quiet else logging.INFO)
    if not version:
        if as_json:
            raise ArgumentError("--json: stands after the command, or with --version; expected: vegrt --version --json")
        return
    if as_json:
        from vegrt.commands.versions import describe_versions

        typer.echo(describe_versions())
    else:
        typer.echo(f"vegrt {__version__}")
    raise typer.Exit


def __getattr__(name: str) -> typer.Typer:
    """Return `app`, the command line with all commands, built on first use (PEP 562)."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return application()


if __name__ == "__main__":
    main()
