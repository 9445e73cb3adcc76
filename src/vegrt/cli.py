"""The vegrt command: exit codes, logging, and which commands there are.

Exit codes: 0 done, 1 a VegrtError (one line on stderr), 2 wrong usage, 3 gate FAIL, 4 gate INCONCLUSIVE, 130 interrupted,
141 whoever read our output left.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vegrt import __version__
from vegrt.commands import (
    artifacts,
    bundles,
    data,
    deploy,
    exporting,
    inference,
    measuring,
    reporting,
    runs,
    serving,
    training,
    tuning,
)
from vegrt.errors import VegrtError


class _Group(TyperGroup):
    """Turns expected failures into one line and an exit code; anything else keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except VegrtError as error:
            typer.echo(f"vegrt: {' '.join(str(error).split())}", err=True)
            raise SystemExit(1) from error
        except KeyboardInterrupt as error:
            note = f"; {error}" if str(error) else ""
            typer.echo(f"vegrt: interrupted{note}", err=True)
            raise SystemExit(130) from error
        except BrokenPipeError as error:  # `vegrt infer ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(141) from error


app = typer.Typer(
    cls=_Group, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
)
app.add_typer(data.app, name="data")
app.add_typer(runs.app, name="runs")
app.add_typer(bundles.app, name="bundle")
app.add_typer(deploy.app, name="deploy")
for _command in (
    training.train,
    tuning.tune,
    exporting.export,
    exporting.calibrate,
    artifacts.evaluate,
    measuring.bench,
    measuring.compare,
    inference.infer,
    serving.serve,
    reporting.report,
    artifacts.verify,
    inference.doctor,
):
    app.command()(_command)


def main() -> None:
    """Run the command line."""
    app()


@app.callback(invoke_without_command=True)
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors on stderr.")] = False,
) -> None:
    """Image classifiers as ONNX, FP16, INT8 and TensorRT files, with evidence that accuracy survived."""
    logging.basicConfig(format="vegrt: %(message)s", level=logging.WARNING)
    logging.getLogger("vegrt").setLevel(logging.WARNING if quiet else logging.INFO)
    if version:
        typer.echo(f"vegrt {__version__}")
        raise typer.Exit


if __name__ == "__main__":
    main()
