"""Results in MLflow: a run with settings, figures and files, in a real store of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import answer, call, failure
from vegrt.bundle.bundle import Bundle

pytest.importorskip("mlflow", reason="needs pip install '.[mlflow]'")


@pytest.fixture(autouse=True)
def _files_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


def test_a_bundle_becomes_a_run(copied: Bundle, photos: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    path, store = copied.path, f"file://{tmp_path}/store"
    assert call("bench", path, "--rounds", "1", "--batch", "1", "--no-memory", "--no-limits").exit_code == 0
    written = answer("report", path, "-o", tmp_path / "report.md", "--mlflow", store)
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("vegrt")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert written["mlflow_runs"] == [run.info.run_id]
    assert (run.info.status, run.info.run_name) == ("FINISHED", "small")
    assert run.data.tags["vegrt.bundle_sha256"] == copied.sha256()
    assert run.data.params["backbone"] == "timm:test_resnet"
    assert run.data.params["batch_size"] == "12"
    (row,) = (row for row in written["bundles"][str(path)] if row["key"] == "int8-cpu/onnxruntime")
    assert run.data.metrics["int8-cpu/onnxruntime/p50_ms"] == row["p50_ms"]
    accuracies = client.get_metric_history(run.info.run_id, "validation_accuracy")
    epochs = copied.manifest.training["epochs"]
    assert [(point.step, point.value) for point in accuracies] == [
        (epoch["epoch"], epoch["validation_accuracy"]) for epoch in epochs
    ]
    top = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert top == {"README.md", "manifest.json", "report", "results"}
    assert [file.path for file in client.list_artifacts(run.info.run_id, "report")] == ["report/report.md"]


def test_a_store_that_cannot_be_used_is_one_line(
    copied: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("bench", copied.path, "--rounds", "1", "--batch", "1", "--no-memory", "--no-limits").exit_code == 0
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    line = failure("report", copied.path, "-o", tmp_path / "r.md", "--mlflow", "http://me:secret@127.0.0.1:9/")
    assert "--mlflow ...@127.0.0.1:9/" in line
    assert "secret" not in line
