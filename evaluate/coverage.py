"""The artifacts of a bundle that were not run here, with cause and cure: a check that was not run has not passed."""

from __future__ import annotations

from collections.abc import Iterable

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import Artifact
from vegrt.infer.runtimes.candidates import ON_CPU, Candidate, artifact_of, is_installed
from vegrt.results.evaluation import NotRun, NotRunCause

_RUNNABLE_ROLES = ("model", "mnn", "engine", "weights")


def runnable_artifacts(bundle: Bundle) -> list[Artifact]:
    """Return the artifacts that give predictions: ONNX and MNN models, engines, and the checkpoint, in this order."""
    return [artifact for role in _RUNNABLE_ROLES for artifact in bundle.manifest.artifacts if artifact.role == role]


def not_run(bundle: Bundle, ran: Iterable[Candidate]) -> list[NotRun]:
    """Return the artifacts that give predictions but were not run, with the reason. ran: the candidates that were run."""
    paths = {artifact_of(bundle, candidate).path for candidate in ran}
    missing = [artifact for artifact in runnable_artifacts(bundle) if artifact.path not in paths]
    return [NotRun(artifact.path, _cause(artifact)) for artifact in missing]


def _cause(artifact: Artifact) -> NotRunCause:
    if artifact.role == "weights":
        return "checkpoint" if is_installed("torch") else "no-torch"
    if artifact.role == "engine":
        return _engine_cause(artifact)
    if artifact.role == "mnn":
        return "not-requested" if is_installed("mnn") else "no-mnn"
    if not any(map(is_installed, ON_CPU)):
        return "no-runtime"
    return "no-openvino" if artifact.variant == "bf16" and not is_installed("openvino") else "not-requested"


def _engine_cause(artifact: Artifact) -> NotRunCause:
    if artifact.details.get("builder") != "tensorrt":
        return "rtx-engine"
    return "not-requested" if is_installed("tensorrt") else "no-tensorrt"
