"""An evaluation as Markdown for the summary of a step of GitHub Actions.

GitHub shows what is appended to the file that GITHUB_STEP_SUMMARY names:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#adding-a-job-summary
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vegrt.errors import ArgumentError, VegrtError
from vegrt.report.evaluation import candidates_table, evaluation_verdict
from vegrt.report.markdown import escape_markdown, statement_markdown, table_markdown
from vegrt.results.evaluation import Evaluation

VARIABLE = "GITHUB_STEP_SUMMARY"


def summary_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file for the summary of this step. Raises ArgumentError outside of GitHub Actions."""
    if not environ.get(VARIABLE):
        raise ArgumentError(
            f"--github-summary: {VARIABLE} is not set; expected a step of GitHub Actions, which sets it"
        )
    return Path(environ[VARIABLE])


def append_summary(evaluation: Evaluation, file: Path) -> None:
    """Append an evaluation to the file. Raises VegrtError if it cannot be written."""
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(summary_markdown(evaluation))
    except OSError as error:
        raise VegrtError(f"{file}: cannot be written ({error.strerror}); check {VARIABLE}") from error


def summary_markdown(evaluation: Evaluation) -> str:
    """Return the verdict of an evaluation and the table of its candidates."""
    panel = evaluation_verdict(evaluation)
    parts = [
        f"### {escape_markdown(panel.title)}",
        f"**{escape_markdown(panel.badge)}**",
        table_markdown(candidates_table(evaluation)),
        "\n".join(f"- {statement_markdown(statement)}" for statement in panel.statements),
    ]
    return "\n\n".join(filter(None, parts)) + "\n\n"
