"""The artifacts of a bundle that were not run here, with the cause: a check that was not run has not passed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import Artifact
from vegrt.infer.runtimes.candidates import ON_CPU, Candidate, artifact_of
from vegrt.infer.runtimes.fingerprint import Fingerprint, mismatches
from vegrt.infer.runtimes.host import Host, examine_host
from vegrt.results.evaluation import NotRun, NotRunCause
from vegrt.results.rows import engine_record

_RUNNABLE_ROLES = ("model", "mnn", "engine", "weights")


def runnable_artifacts(bundle: Bundle) -> list[Artifact]:
    """Return the artifacts that give predictions: ONNX and MNN models, engines, and the checkpoint, in this order."""
    return [artifact for role in _RUNNABLE_ROLES for artifact in bundle.manifest.artifacts if artifact.role == role]


def not_run(
    bundle: Bundle,
    ran: Iterable[Candidate],
    *,
    failed: Mapping[str, str] | None = None,
    host: Host | None = None,
) -> list[NotRun]:
    """Return the artifacts that give predictions but were not run, with the cause.

    ran: the candidates that were run. failed: errors of candidates that could not be loaded, by the path of the artifact. host:
    the machine; None for this one.
    """
    paths, failed = {artifact_of(bundle, candidate).path for candidate in ran}, failed or {}
    missing = [artifact for artifact in runnable_artifacts(bundle) if artifact.path not in paths]
    host = host or examine_host(None if any(artifact.role == "engine" for artifact in missing) else "cpu")
    return [
        NotRun(artifact.path, "not-loaded", detail=failed[artifact.path])
        if artifact.path in failed
        else _missing(artifact, host)
        for artifact in missing
    ]


def _missing(artifact: Artifact, host: Host) -> NotRun:
    if artifact.role == "engine":
        cause = _engine_cause(artifact, host)
        return NotRun(artifact.path, cause, engine=engine_record(artifact) if cause == "other-machine" else None)
    if artifact.role == "weights":
        return NotRun(artifact.path, "checkpoint" if "torch" in host.runtimes else "no-torch")
    if artifact.role == "mnn":
        return NotRun(artifact.path, "not-requested" if "mnn" in host.runtimes else "no-mnn")
    if not host.runtimes & {*ON_CPU}:
        return NotRun(artifact.path, "no-runtime")
    needs_openvino = artifact.variant == "bf16" and "openvino" not in host.runtimes
    return NotRun(artifact.path, "no-openvino" if needs_openvino else "not-requested")


def _engine_cause(artifact: Artifact, host: Host) -> NotRunCause:
    if artifact.details.get("builder") != "tensorrt":
        return "rtx-engine"
    if "tensorrt" not in host.runtimes:
        return "no-tensorrt"
    if host.tensorrt is None:
        return "no-gpu"
    return "other-machine" if mismatches(Fingerprint.from_details(artifact.details), host.tensorrt) else "not-requested"
