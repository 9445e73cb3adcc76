"""Writes a bundle as a model repository of Triton Inference Server: one folder per model, config.pbtxt, labels, one version.

The contract is in the graph, so no ensemble is needed: Triton receives the uint8 pixels. Field names are those of Triton's own
model_config.proto, against which the tests parse the files.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import Artifact
from vegrt.errors import EngineError, VegrtError
from vegrt.export.deploy.triton_engine import IMAGE, RELEASES, SUPPORT_MATRIX, choose_engine, newest_release
from vegrt.export.engines.options import Profile
from vegrt.files.atomic import creating
from vegrt.infer.runtimes.fingerprint import Fingerprint

log = logging.getLogger(__name__)

Backend = Literal["onnxruntime", "tensorrt"]
_FILES: dict[Backend, str] = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}
# fp16 and int8 are for GPUs. An engine runs only there; fp32 runs on whatever device Triton has.
_KINDS = {"fp32": "KIND_AUTO", "fp16": "KIND_GPU", "int8": "KIND_GPU", "int8-cpu": "KIND_CPU"}
_ON_CPU = tuple(variant for variant, kind in _KINDS.items() if kind == "KIND_CPU")
_RECENT = tuple(RELEASES)[:3]
_QUEUE_DELAY_US = 2000  # longest wait for a batch to fill; a tenth of the time of a photo's upload
_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Serving:
    """The settings of a served model.

    variant: fp32, fp16, int8 or int8-cpu. instances: copies per device. target: compute capability of the server's GPU, such as
    sm89, and release: of Triton's container, such as 26.05: which of several engines is served; empty if it does not matter.
    """

    variant: str = "fp32"
    backend: Backend = "onnxruntime"
    max_batch: int = 32
    instances: int = 1
    target: str = ""
    release: str = ""


@dataclass(frozen=True, slots=True)
class Repository:
    """What was written. model: folder of the model. artifact: path of its file in the bundle. command: starts the server.

    container: the image to run; empty for an engine whose TensorRT no known release has.
    """

    model: Path
    artifact: str
    container: str
    command: str


def deploy_triton(bundle: Bundle, out: Path, serving: Serving) -> Repository:
    """Write a model repository to the new folder `out`, atomically.

    Raises VegrtError when `out` is not empty, BundleError or EngineError when the bundle has no model for this backend and
    server; Triton cannot load an engine of TensorRT-RTX.
    """
    artifact = _artifact(bundle, serving)
    name = _NAME.sub("_", bundle.manifest.name).strip(".") or "model"
    with creating(out) as folder:
        version = folder / name / "1"
        version.mkdir(parents=True)
        shutil.copyfile(_file(bundle, artifact), version / _FILES[serving.backend])
        (folder / name / "labels.txt").write_text("\n".join(bundle.manifest.classes) + "\n", encoding="utf-8")
        (folder / name / "config.pbtxt").write_text(_config(bundle, name, serving, artifact), encoding="utf-8")
    return _repository(out, name, serving, artifact)


def _repository(out: Path, name: str, serving: Serving, artifact: Artifact) -> Repository:
    """Return what was written, with the command that serves it. An engine needs the container that has its TensorRT."""
    release, options = serving.release or next(iter(RELEASES)), ""
    if artifact.role == "engine":
        built = Fingerprint.from_details(artifact.details)
        release = serving.release or newest_release(built)
        options = " --backend-config=tensorrt,version-compatible=true" if built.version_compatible else ""
        if not release:
            log.warning(
                "%s: no Triton release that is known here has TensorRT %s; look it up in %s, or build the engine with the "
                "TensorRT of one of them (%s)",
                *(
                    artifact.path,
                    built.version,
                    SUPPORT_MATRIX,
                    ", ".join(f"{key}: {RELEASES[key]}" for key in _RECENT),
                ),
            )
    gpus = "" if serving.variant in _ON_CPU else "--gpus all "
    container = f"{IMAGE}:{release or 'RELEASE'}-py3"
    command = (
        f"docker run --rm {gpus}-p 8000:8000 -p 8001:8001 -v {shlex.quote(f'{out.resolve()}:/models')} {container} "
        f"tritonserver --model-repository=/models{options}"
    )
    return Repository(out / name, artifact.path, container if release else "", command)


def _artifact(bundle: Bundle, serving: Serving) -> Artifact:
    variant = serving.variant
    if serving.backend == "onnxruntime":
        if variant == "int8":  # seen with 1.31 and 1.32; Triton has no option to switch that pass off
            raise VegrtError(
                f"{bundle.path}: int8 has float16 scales, which ONNX Runtime's optimizer breaks; use --variant int8-cpu, or "
                "add --backend tensorrt"
            )
        return bundle.artifact("model", variant)
    plan = choose_engine(bundle, variant, target=serving.target, release=serving.release)
    _check_batch(plan, serving.max_batch)
    return plan


def _file(bundle: Bundle, artifact: Artifact) -> Path:
    return bundle.file("model", artifact.variant) if artifact.role == "model" else bundle.path_of(artifact.path)


def _check_batch(plan: Artifact, max_batch: int) -> None:
    if max_batch > (largest := Profile.of_engine(plan.path, plan.details).largest):
        raise EngineError(
            f"{plan.path}: accepts batches up to {largest}, --max-batch is {max_batch}; expected at most {largest}"
        )


def _config(bundle: Bundle, name: str, serving: Serving, artifact: Artifact) -> str:
    """Return config.pbtxt: a ModelConfig message in protobuf's text format."""
    classes, contract = len(bundle.manifest.classes), bundle.manifest.contract
    kind = _KINDS.get(serving.variant, "KIND_AUTO")
    built = f": {Fingerprint.from_details(artifact.details)}" if artifact.role == "engine" else ""
    lines = (
        f"# {serving.variant} of bundle {_quoted(bundle.manifest.name)}, manifest SHA-256 {bundle.sha256()}{built}",
        f"name: {_quoted(name)}",
        f"backend: {_quoted(serving.backend)}",
        f"max_batch_size: {serving.max_batch}",
        f'input [ {{ name: "images" data_type: TYPE_UINT8 dims: [ {contract.height}, {contract.width}, 3 ] }} ]',
        f'output [ {{ name: "logits" data_type: TYPE_FP32 dims: [ {classes} ] label_filename: "labels.txt" }} ]',
        f"instance_group [ {{ count: {serving.instances} kind: {kind} }} ]",
        # no preferred_batch_size: Triton would hold back requests until that many wait, whatever the largest batch is
        f"dynamic_batching {{ max_queue_delay_microseconds: {_QUEUE_DELAY_US} }}",
    )
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text)  # JSON and protobuf have the same escapes
