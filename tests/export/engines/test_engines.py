"""Engines of a bundle: real TensorRT-RTX plans, built without a GPU, with their audits in the manifest."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.change import Staging, changing
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.calibration.settings import CalibrationSettings
from vegrt.errors import EngineError, MissingExtraError
from vegrt.export.engines.engines import add_engines, find_targets, supported_options
from vegrt.export.engines.options import BuildOptions, ExportOptions, Profile, recorded_options
from vegrt.export.onnx.fp16 import to_bf16
from vegrt.export.stage import ExportJob, load_photos, recalibrate
from vegrt.infer.runtimes.fingerprint import this_platform

trt = pytest.importorskip("tensorrt_rtx", reason="builds real plans: pip install 'vegrt[rtx]'")


def models_of(bundle: Bundle) -> dict[str, bytes]:
    return {variant: bundle.file("model", variant).read_bytes() for variant in bundle.variants()}


@pytest.mark.parametrize(("variant", "wanted"), [("fp16", "Half"), ("int8", "Int8")])
def test_the_builder_lists_every_weight_layer_with_the_requested_type(
    bundle: Bundle, variant: str, wanted: str
) -> None:
    plan = bundle.file("engine", variant)
    assert plan.stat().st_size > 100_000
    audit = json.loads(bundle.file("audit", variant).read_text())
    matched = 15 if variant == "int8" else 16  # the classifier is not quantized, and counted all the same
    assert (audit["wanted"], audit["matched"], audit["weight_layers"]) == (wanted, matched, 16)
    reads = {name: layer["inputs"] for layer in audit["layers"] if layer["type"] != "kgen" for name in layer["onnx"]}
    assert reads["layer4.0.conv2"][0] == wanted
    assert any(key.startswith("correlation") for key in audit["summary"])


def test_fp32_and_bf16_engines_are_built_on_request(bundle: Bundle, tmp_path: Path) -> None:
    fp32, models = ir.load(bundle.file("model", "fp32")), models_of(bundle)
    to_bf16(fp32)
    models["bf16"] = serialize(fp32)
    staging = Staging(tmp_path)
    build = BuildOptions(workspace_mib=64, level=1, hardware_compatible=True, tf32=True)
    options = ExportOptions(bf16=True, fp32_engine=True, profile=Profile(1, 2, 4), build=build, min_int8=0.5)
    add_engines(staging, models, required=True, options=options)
    engines = {artifact.variant: artifact for artifact in staging.added if artifact.role == "engine"}
    audits = {name: (engine.details["wanted"], engine.details["matched"]) for name, engine in engines.items()}
    assert audits == {"fp32": ("Float", 16), "fp16": ("Half", 16), "bf16": ("BFloat16", 16), "int8": ("Int8", 15)}
    folder = f"tensorrt_rtx-{trt.__version__}-{this_platform()}-sm80plus-b1-2-4-hc-tf32"
    assert {engine.path.split("/")[1] for engine in engines.values()} == {folder}
    details = engines["int8"].details
    assert (details["level"], details["workspace_mib"], details["tf32"], details["min_int8"]) == (1, 64, True, 0.5)
    assert (details["unchecked"], details["layers_from"]) == (0, "builder's log")


def test_an_int8_engine_with_a_float32_rest_is_built_with_the_options_of_the_engines_before(
    copied: Bundle, photos: Path
) -> None:
    changes = {"profile": "b1-2-4", "workspace_mib": 64}
    artifacts = [
        replace(item, details=item.details | changes) if item.role == "engine" else item
        for item in copied.manifest.artifacts
    ]
    with changing(copied.path) as staging:
        staging.finish(replace(copied.manifest, artifacts=tuple(artifacts)))
    job = ExportJob(engines=True, settings=CalibrationSettings(float_type="float32"))
    after = recalibrate(copied.path, load_photos(copied, photos, job), job)
    engine = after.artifact("engine", "int8")
    assert (engine.details["matched"], engine.details["unchecked"], engine.details["tf32"]) == (15, 0, False)
    assert (engine.details["profile"], engine.details["workspace_mib"]) == ("b1-2-4", 64)
    audit = json.loads(after.file("audit", "int8").read_text(encoding="utf-8"))
    assert audit["in_float"] == ["fc"]
    types = {kind for layer in audit["layers"] for kind in (*layer["inputs"], *layer["outputs"])}
    assert types == {"UInt8", "Int8", "Float"}


def test_the_options_of_engines_are_read_from_the_manifest(bundle: Bundle, trained: Bundle) -> None:
    assert recorded_options(trained) == ExportOptions()
    assert recorded_options(bundle, "int8") == ExportOptions()
    assert recorded_options(bundle, "fp32") == ExportOptions()
    bf16 = replace(bundle.artifact("model", "fp32"), path="bf16.onnx", variant="bf16")
    int8 = bundle.artifact("engine", "int8")
    fp32 = replace(int8, variant="fp32", details=int8.details | {"profile": "b1-64-256", "tf32": True, "min_int8": 0.5})
    manifest = replace(bundle.manifest, artifacts=(*bundle.manifest.artifacts, bf16, fp32))
    expected = ExportOptions(
        bf16=True, fp32_engine=True, profile=Profile(1, 64, 256), build=BuildOptions(tf32=True), min_int8=0.5
    )
    assert recorded_options(replace(bundle, manifest=manifest)) == expected


def test_hardware_compatibility_is_not_claimed_on_a_jetson(caplog: pytest.LogCaptureFixture) -> None:
    options = BuildOptions(hardware_compatible=True, tf32=True)
    assert supported_options(options, machine="linux-x86_64") == options
    with caplog.at_level(logging.WARNING):
        on_jetson = supported_options(options, machine="jetpack-aarch64")
    assert on_jetson == BuildOptions(tf32=True)
    assert "--hardware-compatible: not supported on JetPack; building for this GPU only" in caplog.text


def test_engines_that_tensorrt_rtx_cannot_build_are_reported(bundle: Bundle, tmp_path: Path) -> None:
    options = ExportOptions(build=BuildOptions(version_compatible=True))
    if {target.module.__name__ for target in find_targets()} == {"tensorrt_rtx"}:
        with pytest.raises(MissingExtraError, match="--engine: neither tensorrt"):
            add_engines(Staging(tmp_path), models_of(bundle), required=True, options=options)


def test_a_failed_engine_build_only_fails_the_export_if_engines_are_required(bundle: Bundle, tmp_path: Path) -> None:
    fp32 = bundle.file("model", "fp32").read_bytes()
    models = {"fp16": fp32, "int8": fp32}  # neither Half nor Int8
    staging = Staging(tmp_path)
    add_engines(staging, models, required=None)
    assert staging.added == []
    with pytest.raises(EngineError, match="0 of 16 weight layers Half"):
        add_engines(staging, models, required=True)
