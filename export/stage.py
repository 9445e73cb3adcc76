"""The export stage: a bundle gains its ONNX variants, calibration, golden images and, when asked, engines."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import Staging, changing, exclusive
from vegrt.bundle.manifest import Artifact
from vegrt.calibration.photos import CalibrationPhotos, calibration_photos
from vegrt.calibration.settings import CalibrationSettings
from vegrt.calibration.stage import finish_progress, run_calibration
from vegrt.export.calibrated import (
    add_calibration,
    copy_of,
    halves,
    images,
    int8_models,
    provenance,
    subject_of,
    work_lines,
)
from vegrt.export.engines.engines import add_engines
from vegrt.export.engines.options import Options
from vegrt.export.golden import add_golden
from vegrt.export.imported.source import load_foreign
from vegrt.export.onnx.fp16 import round_to_bf16, to_bf16, to_fp16
from vegrt.export.onnx.model import export_passing, serialize
from vegrt.export.onnx.overflow import check_overflow
from vegrt.export.onnx.parity import BF16, FP16, FP32, Evidence, check_parity, load_evidence
from vegrt.export.onnx.reference import check_reference
from vegrt.infer.runtimes.logits import Parity
from vegrt.infer.runtimes.onnxruntime import open_onnxruntime
from vegrt.infer.runtimes.torch import TorchRunner
from vegrt.results.files import versions

_TOOLS = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True, slots=True)
class ExportJob:
    """What is asked for.

    engines: see add_engines. near_test: validation photos that do not calibrate. untrained: whether the network may be no better
    than chance; the manifest then says so, and later commands need not be told. command: how it was asked for, for the manifest;
    empty when by no command.
    """

    engines: bool | None = None
    near_test: Collection[str] = ()
    options: Options = field(default_factory=Options)
    settings: CalibrationSettings = field(default_factory=CalibrationSettings)
    untrained: bool = False
    command: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Made:
    """The float32 graph that passed its gate, its bytes, and what the manifest says of it."""

    model: ir.Model
    source: bytes
    details: dict[str, Any]


def export(path: Path, data: Path, job: ExportJob | None = None) -> Bundle:
    """Write fp32, fp16, int8 and int8-cpu ONNX models into the bundle at `path` and return it; a bf16 one if asked for.

    data: its validation split calibrates and checks parity. Raises ModelError when a model is not what its reference is, and as
    check_reference does, MissingExtraError or EngineError as add_engines does; the bundle is then as it was.
    """
    job = job or ExportJob()
    with exclusive(path):
        bundle, photos, evidence = _prepare(path, data, job)
        return _complete(bundle, _fp32(bundle, evidence, job), photos, evidence, job, [])


def recalibrate(path: Path, data: Path, job: ExportJob | None = None) -> Bundle:
    """Calibrate the fp32.onnx of the bundle at `path` anew and replace what depends on it; otherwise as `export`."""
    job = job or ExportJob()
    with exclusive(path):
        bundle, photos, evidence = _prepare(path, data, job)
        made = load_fp32(bundle)
        untrained = job.untrained or bool(made.details.get("untrained"))
        check_reference(evidence, open_onnxruntime(made.source), untrained=untrained)
        before = [one for one in bundle.manifest.calibration.get("commands", []) if one.get("name") != "calibrate"]
        return _complete(bundle, made, photos, evidence, job, before)


def load_fp32(bundle: Bundle) -> Made:
    """Return the bundle's float32 graph. Raises BundleError when it has not been exported."""
    source = bundle.file("model", "fp32").read_bytes()
    details = bundle.artifact("model", "fp32").details
    return Made(ir.from_proto(onnx.load_model_from_string(source)), source, details)


def _prepare(path: Path, data: Path, job: ExportJob) -> tuple[Bundle, CalibrationPhotos, Evidence]:
    bundle = open_bundle(path)
    manifest = bundle.manifest
    photos = calibration_photos(data, manifest.classes, manifest.contract, near_test=job.near_test)
    return bundle, photos, load_evidence(bundle, photos.used, job.options.profile.largest)


def _fp32(bundle: Bundle, evidence: Evidence, job: ExportJob) -> Made:
    """Return the graph of the bundle's checkpoint, or of the foreign model that it holds."""
    said = {"untrained": True} if job.untrained else {}
    if bundle.has("source"):
        foreign = load_foreign(bundle)
        source = serialize(foreign.graph)
        want = check_reference(evidence, foreign.reference, untrained=job.untrained)
        parity = _check_fp32(evidence, want, source)
        return Made(foreign.graph, source, {"parity": parity.to_dict(), "reference": foreign.name} | said)
    want = check_reference(evidence, TorchRunner(bundle), untrained=job.untrained)
    found = export_passing(bundle, partial(_check_fp32, evidence, want), opset=job.options.opset)
    details = {"parity": found.parity.to_dict(), "reference": "torch"} | found.details() | said
    return Made(found.model, found.source, details)


def _complete(
    bundle: Bundle,
    made: Made,
    photos: CalibrationPhotos,
    evidence: Evidence,
    job: ExportJob,
    before: Sequence[Mapping[str, Any]],
) -> Bundle:
    """Add all other variants, calibration, golden photos and engines to a bundle's float32 graph; return the new bundle.

    before: the commands that made what is kept.
    """
    path, contract, settings = bundle.path, bundle.manifest.contract, job.settings
    observed, _ = halves(photos.used, settings)
    paths = [photo.path for photo in observed]
    check_overflow(copy_of(made.model), images(observed, contract, "Range of float16")(), paths)
    outcome = run_calibration(path, subject_of(made.model, photos.used, contract, settings), settings)
    fp16 = copy_of(made.model)
    to_fp16(fp16)
    models = {"fp32": made.source, "fp16": serialize(fp16)} | int8_models(made.model, outcome, settings)
    details = {"fp32": made.details} | _measure_variants(models, evidence, settings)
    if job.options.bf16:
        models["bf16"], details["bf16"] = _bf16(made.model, evidence)
    with changing(path) as staging:
        _add_models(staging, models, details)
        add_calibration(staging, outcome)
        add_golden(staging, photos.used, contract, open_onnxruntime(made.source))
        add_engines(staging, models, required=job.engines, options=job.options, previous=path)
        known = provenance(made.model, outcome, photos, settings)
        known["commands"] = [*before, *([dict(job.command)] if job.command else [])]
        manifest = replace(bundle.manifest, artifacts=_before_export(bundle), calibration=known)
        staging.finish(replace(manifest, tools=manifest.tools | versions(_TOOLS)))
    finish_progress(path)
    return open_bundle(path)


def _before_export(bundle: Bundle) -> tuple[Artifact, ...]:
    """Return what the export starts from: engines and models of an earlier one must not stand beside new ones."""
    return tuple(artifact for artifact in bundle.manifest.artifacts if artifact.role in ("weights", "source"))


def _check_fp32(evidence: Evidence, want: NDArray[np.float32], source: bytes) -> Parity:
    parity = evidence.measure(want, open_onnxruntime(source))
    return check_parity("fp32.onnx", parity, FP32, evidence, source)


def _measure_variants(
    models: dict[str, bytes], evidence: Evidence, settings: CalibrationSettings
) -> dict[str, dict[str, Any]]:
    """Compare with fp32. fp16 is gated; int8 is judged by `vegrt evaluate`, here only measured."""
    reference = evidence.answers(open_onnxruntime(models["fp32"]))
    details: dict[str, dict[str, Any]] = {}
    for variant, kind in (("fp16", "float16"), ("int8", settings.rest), ("int8-cpu", "float32")):
        parity = evidence.measure(reference, open_onnxruntime(models[variant], float16=kind == "float16"))
        if variant == "fp16":
            check_parity("fp16.onnx", parity, FP16, evidence, models["fp16"])
        details[variant] = {"parity": parity.to_dict(), "reference": "fp32", "float": kind}
    return details


def _bf16(fp32: ir.Model, evidence: Evidence) -> tuple[bytes, dict[str, Any]]:
    """Return bf16.onnx and the parity of a graph that rounds as it does: ONNX Runtime cannot run the file itself."""
    bf16, rounded = copy_of(fp32), copy_of(fp32)
    to_bf16(bf16)
    round_to_bf16(rounded)
    source = serialize(rounded)
    parity = evidence.measure(open_onnxruntime(serialize(fp32)), open_onnxruntime(source))
    check_parity("bf16.onnx", parity, BF16, evidence, source)
    why = "parity is of an fp32 graph that rounds to bfloat16: ONNX Runtime cannot run bf16.onnx itself"
    return serialize(bf16), {"parity": parity.to_dict(), "reference": "fp32", "float": "bfloat16", "not_run": why}


def _add_models(staging: Staging, models: dict[str, bytes], details: dict[str, dict[str, Any]]) -> None:
    for variant, data in models.items():
        staging.file(f"{variant}.onnx").write_bytes(data)
        staging.add(f"{variant}.onnx", "model", variant, details[variant])


def export_lines(bundle: Bundle) -> list[str]:
    """Return one line per model and engine that the bundle holds, and what of each int8 model is in 8 bits, for people."""
    lines = []
    for artifact in bundle.manifest.artifacts:
        known = artifact.details
        size = f"{bundle.path / artifact.path}: {artifact.size_bytes / 1e6:.1f} MB"
        if artifact.role == "model":
            against = known["parity"]
            same = (
                f"same top-1 as {known['reference']} on {against['top1_agreement']:.1%} of {against['images']} photos"
            )
            unrun = f"; not run: {known['not_run']}" if "not_run" in known else ""
            lines.append(f"{size}, {same}{unrun}")
        elif artifact.role == "engine":
            matched = f"{known['matched']} of {known['weight_layers']} weight layers {known['wanted']}"
            lines.append(f"{size}, {matched} in the builder's list")
    return [*lines, *work_lines(bundle.manifest.calibration)]


def describe_export(bundle: Bundle) -> dict[str, Any]:
    """Return what an exported bundle holds, as JSON values for `vegrt export --json`."""
    shown = [artifact for artifact in bundle.manifest.artifacts if artifact.role in ("model", "engine")]
    files = [{"path": one.path, "variant": one.variant, "size_bytes": one.size_bytes} | one.details for one in shown]
    return {
        "bundle": str(bundle.path),
        "artifacts": json.loads(json.dumps(files)),
        "calibration": bundle.manifest.calibration,
    }
