"""The export stage: a bundle gains its ONNX variants, calibration, golden photos and, if requested, engines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import Staging, changing, exclusive
from vegrt.bundle.manifest import Artifact
from vegrt.calibration.graph.onnx_graph import Fp32Graph, copy_graph, load_fp32, serialize
from vegrt.calibration.manifest import calibration_entry
from vegrt.calibration.photos import CalibrationPhotos, calibration_photos
from vegrt.calibration.pixels import PhotoSet
from vegrt.calibration.resume import finish_progress
from vegrt.calibration.saved import add_calibration
from vegrt.calibration.settings import VARIANTS, CalibrationSettings
from vegrt.calibration.stage import CalibrationOutcome, run_calibration
from vegrt.calibration.subject import prepare_subject, split_photos
from vegrt.export.engines.engines import add_engines
from vegrt.export.engines.options import ExportOptions, recorded_options
from vegrt.export.golden import add_golden
from vegrt.export.imported.quantized import QuantizedModel, compare_quantized, read_quantized
from vegrt.export.imported.source import load_imported
from vegrt.export.onnx.fp16 import round_to_bf16, to_bf16, to_fp16
from vegrt.export.onnx.mnn import make_mnn, mnn_of
from vegrt.export.onnx.model import export_passing
from vegrt.export.onnx.overflow import check_photos, overflow_check
from vegrt.export.onnx.parity import BF16, FP16, Evidence, Fp32Gate, check_parity, load_evidence
from vegrt.export.onnx.reference import check_reference
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.onnxruntime.session import is_faster_in_float
from vegrt.infer.runtimes.torch import TorchRunner
from vegrt.results.header import installed_versions
from vegrt.timing import StageTimer

INT8_PHOTOS = 64
_TOOLS = ("torch", "MNN", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True, slots=True)
class ExportJob:
    """The request for an export.

    engines: see add_engines. near_test: validation photos that do not calibrate. untrained: the network may be no better than
    chance; the manifest then says so, and later commands accept it too. quantized: ONNX files of quantized models of other
    tools; if empty, those of the bundle stay. command: the command line, for the manifest; empty when no command started it.
    """

    engines: bool | None = None
    near_test: Collection[str] = ()
    options: ExportOptions = field(default_factory=ExportOptions)
    settings: CalibrationSettings = field(default_factory=CalibrationSettings)
    untrained: bool = False
    quantized: Sequence[Path] = ()
    command: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.options.fp16:
            object.__setattr__(self, "settings", replace(self.settings, float_type="float32"))


@dataclass(frozen=True, slots=True)
class _Start:
    """The start of all other variants: a float32 graph that passed the gate, on which photos, and by whose request.

    reference: the graph's (N, K) logits in ONNX Runtime for the photos of the evidence. quantized: models made by other tools.
    earlier: the commands whose results stay in the bundle.
    """

    fp32: Fp32Graph
    reference: NDArray[np.float32]
    photos: CalibrationPhotos
    evidence: Evidence
    job: ExportJob
    quantized: Sequence[QuantizedModel] = ()
    earlier: Sequence[Mapping[str, Any]] = ()


def export(path: Path, data: Path, job: ExportJob | None = None, timer: StageTimer | None = None) -> Bundle:
    """Write fp32, fp16, int8, int8-cpu and bf16 ONNX models into the bundle at `path`, as the job asks, and return it.

    Quantized models of the job become variants too. data: its validation split calibrates and checks parity. timer: gets the
    stages' seconds. Raises ModelError when a model differs from its reference, and the errors of read_quantized,
    compare_quantized, check_reference and add_engines; the bundle is then unchanged.
    """
    job, timer = job or ExportJob(), timer or StageTimer()
    with exclusive(path):
        bundle = open_bundle(path)
        quantized = read_quantized(bundle, job.quantized)
        with timer.stage("photos"):
            photos = load_photos(bundle, data, job)
        evidence = _evidence(bundle, photos, job)
        fp32, reference = _fp32(bundle, evidence, job, timer)
        if quantized:
            with timer.stage("quantized"):
                quantized = compare_quantized(quantized, evidence, reference, untrained=job.untrained)
        return _complete(bundle, _Start(fp32, reference, photos, evidence, job, quantized), timer)


def recalibrate(path: Path, photos: CalibrationPhotos, job: ExportJob | None = None) -> Bundle:
    """Calibrate the fp32.onnx of the bundle at `path` again and replace what depends on it; otherwise as `export`.

    Batch sizes and builder options are those of the bundle's engines, whatever the job's are; a bf16 model is written again.
    """
    with exclusive(path):
        bundle = open_bundle(path)
        job = replace(job or ExportJob(), options=recorded_options(bundle))
        evidence = _evidence(bundle, photos, job)
        fp32 = load_fp32(bundle)
        untrained = job.untrained or bool(fp32.details.get("untrained"))
        reference = check_reference(evidence, open_onnxruntime(fp32.source), untrained=untrained)
        quantized = compare_quantized(read_quantized(bundle, ()), evidence, reference, untrained=untrained)
        commands = bundle.manifest.calibration.get("commands", [])
        earlier = [command for command in commands if command.get("name") != "calibrate"]
        return _complete(bundle, _Start(fp32, reference, photos, evidence, job, quantized, earlier), StageTimer())


def load_photos(bundle: Bundle, data: Path, job: ExportJob) -> CalibrationPhotos:
    """Return the decoded photos of `data` that may calibrate a bundle. Raises as calibration_photos does."""
    manifest = bundle.manifest
    return calibration_photos(data, manifest.classes, manifest.contract, near_test=job.near_test)


def _evidence(bundle: Bundle, photos: CalibrationPhotos, job: ExportJob) -> Evidence:
    """Return the photos on which graphs are compared: first those whose float answers the tournament needs too."""
    observed, held_out = split_photos(photos.used, job.settings)
    ordered = PhotoSet([*held_out.photos, *observed.photos], photos.used.pixels)
    return load_evidence(bundle, ordered, job.options.profile.largest)


def _fp32(
    bundle: Bundle, evidence: Evidence, job: ExportJob, timer: StageTimer
) -> tuple[Fp32Graph, NDArray[np.float32]]:
    """Return the graph of the bundle's checkpoint, or of the imported model that it holds, and its (N, K) logits."""
    untrained = {"untrained": True} if job.untrained else {}
    if bundle.has("source"):
        imported = load_imported(bundle)
        source = serialize(imported.graph)
        with timer.stage("reference"):
            gate = Fp32Gate(evidence, check_reference(evidence, imported.reference, untrained=job.untrained))
        with timer.stage("fp32.onnx"):
            details = {"parity": gate(source).to_dict(), "reference": imported.name} | untrained
        return Fp32Graph(imported.graph, source, details), gate.logits
    with timer.stage("reference"):
        gate = Fp32Gate(evidence, check_reference(evidence, TorchRunner(bundle), untrained=job.untrained))
    with timer.stage("fp32.onnx"):
        exported = export_passing(bundle, gate, opset=job.options.opset)
    details = {"parity": exported.parity.to_dict(), "reference": "torch"} | exported.details() | untrained
    return Fp32Graph(exported.model, exported.source, details), gate.logits


def _complete(bundle: Bundle, start: _Start, timer: StageTimer) -> Bundle:
    """Add all other variants, calibration, golden photos and engines to a bundle's float32 graph; return the new bundle."""
    path, fp32, job, photos = bundle.path, start.fp32, start.job, start.photos
    outcome = _calibrate(bundle, start, timer)
    with timer.stage("variants"):
        models, details = _variants(start, outcome)
    with timer.stage("fp32.mnn"):
        mnn = mnn_of(bundle, fp32.source) or make_mnn(fp32.source, start.evidence, start.reference)
    with changing(path) as staging:
        _add_models(staging, models, details)
        if mnn:
            staging.file("fp32.mnn").write_bytes(mnn.content)
            staging.add("fp32.mnn", "mnn", "fp32", {"parity": mnn.parity, "reference": "fp32"})
        add_calibration(staging, outcome.calibration, outcome.key)
        golden = add_golden(staging, photos.used, open_onnxruntime(fp32.source))
        with timer.stage("engines"):
            add_engines(staging, models, required=job.engines, options=job.options, previous=path, golden=golden)
        entry = calibration_entry(fp32.model, outcome, photos, job.settings)
        entry["commands"] = [*start.earlier, *([dict(job.command)] if job.command else [])]
        manifest = replace(bundle.manifest, artifacts=_source_artifacts(bundle), calibration=entry)
        staging.finish(replace(manifest, tools=manifest.tools | installed_versions(_TOOLS)))
    finish_progress(path)
    return open_bundle(path)


def _calibrate(bundle: Bundle, start: _Start, timer: StageTimer) -> CalibrationOutcome:
    """Return the calibration, new or the bundle's own. Raises ModelError when a result of the graph exceeds the float type."""
    model, settings, in_float16 = start.fp32.model, start.job.settings, start.job.options.fp16
    subject = prepare_subject(model, start.photos.used, bundle.manifest.contract, settings)
    check = overflow_check(model, subject.observed, in_float16=in_float16)
    known = dict(zip(start.evidence.photos, start.reference, strict=True))
    outcome = run_calibration(bundle.path, subject, settings, known=known, check=check, timer=timer)
    if outcome.reused:  # nothing was observed
        with timer.stage("observation"):
            check_photos(model, subject.observed, in_float16=in_float16)
    return outcome


def _source_artifacts(bundle: Bundle) -> tuple[Artifact, ...]:
    """Return the artifacts that an export starts from; models and engines of an earlier export are replaced."""
    return tuple(artifact for artifact in bundle.manifest.artifacts if artifact.role in ("weights", "source"))


def _variants(start: _Start, outcome: CalibrationOutcome) -> tuple[dict[str, bytes], dict[str, dict[str, Any]]]:
    """Return the bytes and the manifest's details of each ONNX variant. Raises ModelError when fp16 or bf16 differs from fp32."""
    fp32, evidence, reference, job = start.fp32, start.evidence, start.reference, start.job
    models = {"fp32": fp32.source}
    if job.options.fp16:
        fp16 = copy_graph(fp32.model)
        to_fp16(fp16)
        models["fp16"] = serialize(fp16)
    models |= _int8_models(fp32.model, outcome, job.settings)
    details = {"fp32": fp32.details} | _measure_variants(models, evidence, reference, job.settings)
    if job.options.bf16:
        models["bf16"], details["bf16"] = _bf16(fp32.model, evidence, reference)
    models |= {model.variant: model.source for model in start.quantized}
    details |= {model.variant: model.details for model in start.quantized}
    return models, details


def _int8_models(fp32: ir.Model, outcome: CalibrationOutcome, settings: CalibrationSettings) -> dict[str, bytes]:
    """Return the bytes of `int8` (TensorRT's rules, the rest in the settings' float type) and `int8-cpu` (rest in float32)."""
    signed, unsigned = copy_graph(fp32), copy_graph(fp32)
    if settings.float_type == "float16":
        to_fp16(signed)
    outcome.calibration.quantize(signed, "signed")
    outcome.calibration.quantize(unsigned, "unsigned")
    return {VARIANTS["signed"]: serialize(signed), VARIANTS["unsigned"]: serialize(unsigned)}


def _measure_variants(
    models: dict[str, bytes], evidence: Evidence, reference: NDArray[np.float32], settings: CalibrationSettings
) -> dict[str, dict[str, Any]]:
    """Return each variant's parity with fp32. fp16 has to pass its limits.

    int8 is only measured, on INT8_PHOTOS: the tournament has judged it on held-out photos, and `vegrt evaluate` will.
    """
    details: dict[str, dict[str, Any]] = {}
    for variant, kind in (("fp16", "float16"), ("int8", settings.float_type), ("int8-cpu", "float32")):
        if variant not in models:
            continue
        runner = open_onnxruntime(models[variant], float16=kind == "float16", in_float=is_faster_in_float(variant))
        used = evidence if variant == "fp16" else evidence.first(INT8_PHOTOS)
        parity = used.measure(reference[: len(used.photos)], runner)
        if variant == "fp16":
            check_parity("fp16.onnx", parity, FP16, evidence, models["fp16"])
        details[variant] = {"parity": parity.to_dict(), "reference": "fp32", "float": kind}
    return details


def _bf16(fp32: ir.Model, evidence: Evidence, reference: NDArray[np.float32]) -> tuple[bytes, dict[str, Any]]:
    """Return bf16.onnx and the parity of a graph that rounds as it does: ONNX Runtime cannot run the file itself."""
    bf16, rounded = copy_graph(fp32), copy_graph(fp32)
    to_bf16(bf16)
    round_to_bf16(rounded)
    source = serialize(rounded)
    parity = evidence.measure(reference, open_onnxruntime(source))
    check_parity("bf16.onnx", parity, BF16, evidence, source)
    reason = "ONNX Runtime cannot run bf16.onnx itself; the parity is that of an fp32 graph that rounds to bfloat16"
    return serialize(bf16), {"parity": parity.to_dict(), "reference": "fp32", "float": "bfloat16", "not_run": reason}


def _add_models(staging: Staging, models: dict[str, bytes], details: dict[str, dict[str, Any]]) -> None:
    for variant, data in models.items():
        staging.file(f"{variant}.onnx").write_bytes(data)
        staging.add(f"{variant}.onnx", "model", variant, details[variant])
