"""Writes a bundle as a model repository of Triton Inference Server: one folder per model, config.pbtxt, labels, one version.

The contract is in the graph, so no ensemble is needed: Triton receives the uint8 pixels. Field names are those of Triton's own
model_config.proto, against which the tests parse the files.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import Artifact
from vegrt.errors import EngineError, VegrtError
from vegrt.export.engines.options import Profile
from vegrt.files.atomic import creating

Backend = Literal["onnxruntime", "tensorrt"]
_FILES: dict[Backend, str] = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}
# fp16 and int8 are for GPUs. An engine runs only there; fp32 runs on whatever device Triton has.
_KINDS = {"fp32": "KIND_AUTO", "fp16": "KIND_GPU", "int8": "KIND_GPU", "int8-cpu": "KIND_CPU"}
_QUEUE_DELAY_US = 2000  # longest wait for a batch to fill; a tenth of the time of a photo's upload
_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Serving:
    """The settings of a served model. variant: fp32, fp16, int8 or int8-cpu. instances: copies per device."""

    variant: str = "fp32"
    backend: Backend = "onnxruntime"
    max_batch: int = 32
    instances: int = 1


def deploy_triton(bundle: Bundle, out: Path, serving: Serving) -> Path:
    """Write a model repository to the new folder `out`, atomically, and return the model's folder in it.

    Raises VegrtError when `out` is not empty, BundleError or EngineError when the bundle has no model for this backend;
    Triton cannot load an engine of TensorRT-RTX.
    """
    artifact = _artifact(bundle, serving)
    name = _NAME.sub("_", bundle.manifest.name).strip(".") or "model"
    with creating(out) as folder:
        version = folder / name / "1"
        version.mkdir(parents=True)
        shutil.copyfile(_file(bundle, artifact), version / _FILES[serving.backend])
        (folder / name / "labels.txt").write_text("\n".join(bundle.manifest.classes) + "\n", encoding="utf-8")
        (folder / name / "config.pbtxt").write_text(_config(bundle, name, serving, artifact), encoding="utf-8")
    return out / name


def _artifact(bundle: Bundle, serving: Serving) -> Artifact:
    variant, path = serving.variant, bundle.path
    if serving.backend == "onnxruntime":
        if variant == "int8":  # seen with 1.31 and 1.32; Triton has no option to switch that pass off
            raise VegrtError(
                f"{path}: int8 has float16 scales, which ONNX Runtime's optimizer breaks; use --variant int8-cpu, or add "
                "--backend tensorrt"
            )
        return bundle.artifact("model", variant)
    artifacts = bundle.manifest.artifacts
    engines = [artifact for artifact in artifacts if (artifact.role, artifact.variant) == ("engine", variant)]
    plans = [engine for engine in engines if engine.details.get("builder") == "tensorrt"]
    if not plans:
        problem = "only a TensorRT-RTX engine, which Triton cannot load," if engines else "no engine"
        raise EngineError(
            f"{path}: {problem} of {variant}; build one on the server's GPU: pip install 'vegrt[tensorrt]', then "
            f"vegrt export {path} --data DATA --engine; or omit --backend"
        )
    if len(plans) > 1:
        raise EngineError(
            f"{path}: {len(plans)} engines of {variant} ({', '.join(plan.path for plan in plans)}); expected one"
        )
    _check_batch(plans[0], serving.max_batch)
    return plans[0]


def _file(bundle: Bundle, artifact: Artifact) -> Path:
    return bundle.file("model", artifact.variant) if artifact.role == "model" else bundle.path_of(artifact.path)


def _check_batch(plan: Artifact, max_batch: int) -> None:
    if max_batch > (largest := Profile.of_engine(plan.path, plan.details).largest):
        raise EngineError(
            f"{plan.path}: accepts batches up to {largest}, --max-batch is {max_batch}; expected at most {largest}"
        )


def _config(bundle: Bundle, name: str, serving: Serving, artifact: Artifact) -> str:
    """Return config.pbtxt: a ModelConfig message in protobuf's text format."""
    size, classes = bundle.manifest.contract.size, len(bundle.manifest.classes)
    preferred = ""
    if serving.backend == "tensorrt":
        tuned = min(serving.max_batch, Profile.of_engine(artifact.path, artifact.details).tuned)
        preferred = f"preferred_batch_size: [ {tuned} ] "
    kind = _KINDS.get(serving.variant, "KIND_AUTO")
    lines = (
        f"# {serving.variant} of bundle {_quoted(bundle.manifest.name)}, manifest SHA-256 {bundle.sha256()}",
        f"name: {_quoted(name)}",
        f"backend: {_quoted(serving.backend)}",
        f"max_batch_size: {serving.max_batch}",
        f'input [ {{ name: "images" data_type: TYPE_UINT8 dims: [ {size}, {size}, 3 ] }} ]',
        f'output [ {{ name: "logits" data_type: TYPE_FP32 dims: [ {classes} ] label_filename: "labels.txt" }} ]',
        f"instance_group [ {{ count: {serving.instances} kind: {kind} }} ]",
        f"dynamic_batching {{ {preferred}max_queue_delay_microseconds: {_QUEUE_DELAY_US} }}",
    )
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text)  # JSON and protobuf have the same escapes
