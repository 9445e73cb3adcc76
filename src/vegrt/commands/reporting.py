"""vegrt report: the results of bundles as an HTML page, Markdown, pictures or a model card."""

from __future__ import annotations

from typing import Any

import typer

from vegrt.api.reporting import report as run_report
from vegrt.commands.options.derived import options_of
from vegrt.commands.options.shared import JsonOption, show


@options_of(run_report)
def report(*, as_json: JsonOption = False, **options: Any) -> None:
    """Write a report on the results.

    Writes one offline HTML page, Markdown, pictures or a model card from the result files of evaluate, bench and calibrate, and
    prints the comparison of all variants.
    """
    reported = run_report(**options)
    if as_json:
        show(reported.to_dict(), True)
        return
    from vegrt.report.summary import summary_table

    for path, summary in reported.summaries.items():
        typer.echo(path)
        show(summary_table(summary), False)
    for file in reported.written:
        typer.echo(f"report: {file}")
    for run in reported.mlflow_runs:
        typer.echo(f"mlflow: run {run}")
