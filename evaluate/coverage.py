"""The artifacts of a bundle that were not run here, with cause and cure: a check that was not run has not passed."""

from __future__ import annotations

from collections.abc import Iterable

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import Artifact
from vegrt.infer.runtimes.candidates import INSTALL_ONE, NO_RUNTIME, ON_CPU, Candidate, artifact_of, is_installed
from vegrt.results.evaluation import NotRun

_RUNNABLE_ROLES = ("model", "engine", "weights")


def runnable_artifacts(bundle: Bundle) -> list[Artifact]:
    """Return the artifacts that give predictions: ONNX models, engines, and the checkpoint, in this order."""
    return [artifact for role in _RUNNABLE_ROLES for artifact in bundle.manifest.artifacts if artifact.role == role]


def not_run(bundle: Bundle, ran: Iterable[Candidate]) -> list[NotRun]:
    """Return the artifacts that give predictions but were not run, with the reason. ran: the candidates that were run."""
    paths = {artifact_of(bundle, candidate).path for candidate in ran}
    return [_explained(artifact) for artifact in runnable_artifacts(bundle) if artifact.path not in paths]


def _explained(artifact: Artifact) -> NotRun:
    if artifact.role == "weights":
        if is_installed("torch"):
            return NotRun(artifact.path, "the checkpoint, which does not ship and which evaluate runs in PyTorch")
        return NotRun(artifact.path, "the checkpoint: PyTorch is not installed here", "pip install 'vegrt[train]'")
    if artifact.role == "engine":
        return _engine(artifact)
    if not any(map(is_installed, ON_CPU)):
        return NotRun(artifact.path, NO_RUNTIME, INSTALL_ONE)
    if artifact.variant == "bf16":
        return NotRun(artifact.path, "ONNX Runtime has no bfloat16 convolution", "pip install 'vegrt[openvino]'")
    return NotRun(artifact.path, "no candidate that was run uses it")


def _engine(artifact: Artifact) -> NotRun:
    if artifact.details.get("builder") != "tensorrt":
        return NotRun(artifact.path, "a TensorRT-RTX engine, which vegrt builds but does not run")
    if is_installed("tensorrt"):
        return NotRun(artifact.path, "a TensorRT engine, which was not requested", "add --runtime tensorrt")
    return NotRun(artifact.path, "TensorRT is not installed here", "on the engine's GPU: pip install 'vegrt[tensorrt]'")
