"""vegrt runs: list, explain, compare and delete recorded training runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegrt.commands.options.shared import JsonOption, show

if TYPE_CHECKING:
    from vegrt.train.history.runs_db import Run

app = typer.Typer(help="List, explain, compare and delete recorded training runs.")

_DEFAULT = Path("runs.db")
RunsOption = Annotated[
    Path | None,
    typer.Option("--runs", help="SQLite file written by vegrt train; default: runs.db.", show_default=False),
]
RunArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of a run, its first letters, or last.")]


@app.callback(invoke_without_command=True)
def runs_list(ctx: typer.Context, runs: RunsOption = None, as_json: JsonOption = False) -> None:
    """List the recorded runs, newest first.

    Shows status, epochs, validation accuracy and loss of the best epoch, and speed.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = runs, as_json
        return
    from vegrt.report.run.text import runs_table
    from vegrt.train.history.runs_db import list_runs

    recorded = list_runs(runs or _DEFAULT)
    show({"runs": [asdict(run.summary()) for run in recorded]} if as_json else runs_table(recorded), as_json)


@app.command("show")
def runs_show(
    ctx: typer.Context,
    run: RunArgument,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="HTML file to write, offline.")] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Folder for the charts as PNG files.")] = None,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain one run.

    Shows overfitting, the gap to validation photos, gradients of each stage, confusions, and the photos with the highest loss.
    """
    from vegrt.report.run.text import run_text, run_values
    from vegrt.train.history.runs_db import load_run

    db, as_json = _common(ctx, runs, as_json)
    recorded = load_run(db, run)
    written = _write(recorded, out, png)
    if as_json:
        show(run_values(recorded) | {"written": [str(path) for path in written]}, True)
        return
    show(run_text(recorded), False)
    for path in written:
        typer.echo(f"written: {path}")


@app.command("compare")
def runs_compare(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID ID...", help="Ids of runs, as for show.")],
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare runs.

    Shows the recipe entries that differ, and the figures of each run's best epoch.
    """
    from vegrt.report.run.text import comparison_table
    from vegrt.train.history.runs_db import compare_runs

    db, as_json = _common(ctx, runs, as_json)
    rows = compare_runs(db, ids)
    show(rows if as_json else comparison_table(rows), as_json)


@app.command("delete")
def runs_delete(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of runs, as for show.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also delete runs recorded as running, such as killed ones.")
    ] = False,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete recorded runs.

    Deletes all named runs or none of them; their bundles are kept.
    """
    from vegrt.train.history.runs_db import delete_runs

    db, as_json = _common(ctx, runs, as_json)
    deleted = delete_runs(db, ids, force=force)
    show({"deleted": deleted}, True) if as_json else typer.echo(f"deleted: {', '.join(deleted)}")


def _write(run: Run, out: Path | None, png: Path | None) -> list[Path]:
    """Write the requested page and charts; return their paths."""
    written: list[Path] = []
    if out is not None:
        from vegrt.report.run.page import write_run_page

        write_run_page(run, out)
        written.append(out)
    if png is not None:
        from vegrt.report.html.page import require_charts

        require_charts()
        from vegrt.report.charts.run import write_pngs

        written += write_pngs(run, png)
    return written


def _common(ctx: typer.Context, runs: Path | None, as_json: bool) -> tuple[Path, bool]:
    """Return the options that are accepted before and after the sub-command."""
    before, json_before = ctx.obj
    return runs or before or _DEFAULT, as_json or json_before
