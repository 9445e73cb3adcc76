"""Logs the results of bundles to an MLflow tracking server or store: one run per bundle.

Names of metrics are `<candidate>/<figure with its unit>`, such as int8-cpu/onnxruntime/top1_percent.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vegrt.errors import VegrtError, require
from vegrt.files.text import printable
from vegrt.report.card.card import Claims, card_markdown
from vegrt.report.facts.facts import Facts
from vegrt.report.summary import SummaryRow, summary_rows
from vegrt.report.verdict import conclude

EXPERIMENT = "vegrt"  # unless MLFLOW_EXPERIMENT_NAME, a variable of MLflow, names another
_FIGURES = ("top1_percent", "drop_points", "flips", "size_bytes", "p50_ms", "p99_ms", "images_per_s")
_EPOCH_FIGURES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr")
_LONGEST_PARAMETER = 6000  # characters, the limit of MLflow


def log_to_mlflow(
    uri: str, facts: Sequence[Facts], written: Sequence[Path], *, claims: Claims | None = None
) -> list[str]:
    """Log each bundle as a run and return the runs' ids.

    Parameters are the settings of training and calibration, metrics the figures of every candidate and epoch, artifacts the
    written report, the model card, the manifest and the result files; models stay in the bundle.
    uri: as for `mlflow.set_tracking_uri`. Raises VegrtError for a store that cannot be used, MissingExtraError without MLflow.
    """
    mlflow = require("mlflow", "mlflow")
    with _mapped(uri):
        client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = _experiment(client)
        return [_log(client, experiment, bundle_facts, written, claims or Claims()) for bundle_facts in facts]


@contextmanager
def _mapped(uri: str) -> Iterator[None]:
    """Turn MLflow's and the system's errors into a VegrtError of one line, without the password that the address may hold."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        scheme, _, rest = uri.rpartition("@")
        shown = f"...@{rest}" if scheme else uri
        reason = printable(str(error).replace(uri, shown).splitlines()[0])[:300]
        raise VegrtError(f"--mlflow {shown}: {reason}; expected the address of an MLflow server that runs") from error


def _experiment(client: Any) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    experiment = client.get_experiment_by_name(name)
    return str(experiment.experiment_id if experiment else client.create_experiment(name))


def _log(client: Any, experiment: str, facts: Facts, written: Sequence[Path], claims: Claims) -> str:
    """Log a bundle as a run, which is marked as failed if it cannot be completed; return its id."""
    rows = summary_rows(facts)
    manifest = facts.bundle.manifest
    tags = {"vegrt.bundle_sha256": facts.bundle.sha256(), "vegrt.verdict": conclude(facts, rows).outcome}
    run = str(client.create_run(experiment, run_name=manifest.name, tags=tags).info.run_id)
    try:
        for name, value in _parameters(facts).items():
            client.log_param(run, name, value)
        for name, figure, step in [*_candidate_metrics(rows), *_epoch_metrics(manifest.training)]:
            client.log_metric(run, name, figure, step=step)
        _log_files(client, run, facts, written, claims)
    except BaseException:
        client.set_terminated(run, "FAILED")
        raise
    client.set_terminated(run)
    return run


def _parameters(facts: Facts) -> dict[str, str]:
    manifest = facts.bundle.manifest
    settings = {**manifest.model, **manifest.training.get("recipe", {})}
    calibration = {f"calibration/{name}": manifest.calibration.get(name) for name in ("method", "images")}
    data = {
        f"data/{name}/fingerprint": split["fingerprint"]
        for name, split in manifest.data.items()
        if "fingerprint" in split
    }
    values = settings | calibration | data | {"classes": len(manifest.classes)}
    return {name: str(value)[:_LONGEST_PARAMETER] for name, value in values.items() if value is not None}


def _candidate_metrics(rows: Sequence[SummaryRow]) -> Iterator[tuple[str, float, int]]:
    for row in rows:
        figures = row.to_dict()
        for name in _FIGURES:
            if (figure := figures[name]) is not None:
                yield f"{_metric_name(row.key)}/{name}", float(figure), 0


def _epoch_metrics(training: dict[str, Any]) -> Iterator[tuple[str, float, int]]:
    for epoch in training.get("epochs") or []:
        for name in _EPOCH_FIGURES:
            if isinstance(value := epoch.get(name), float | int) and math.isfinite(value):
                yield name, float(value), int(epoch["epoch"])


def _metric_name(key: str) -> str:
    """Return a candidate's key with the characters that MLflow allows; the name of a device may have any."""
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in key)


def _log_files(client: Any, run: str, facts: Facts, written: Sequence[Path], claims: Claims) -> None:
    bundle = facts.bundle
    for file in dict.fromkeys(written):
        client.log_artifact(run, str(file), "report")
    client.log_artifact(run, str(bundle.path / "manifest.json"))
    for file in sorted((bundle.path / "results").glob("*.json")):
        if file.is_file() and not file.is_symlink():
            client.log_artifact(run, str(file), "results")
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder) / "README.md"
        card.write_text(card_markdown(facts, claims), encoding="utf-8")
        client.log_artifact(run, str(card))
