"""Engines of another device or version: what the line says, and the rebuilding that cures it. No GPU needed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.errors import BundleError, EngineError
from vegrt.infer.runtimes.fingerprint import Fingerprint, mismatches, this_platform
from vegrt.infer.runtimes.tensorrt.engine import fitting_engine, read_plan
from vegrt.machine import examine_machine

ORIN = Fingerprint("tensorrt", "10.3.0", "sm87", "Orin", "jetpack-aarch64")
SERVER = Fingerprint("tensorrt", "10.13.3", "sm86", "A10", "linux-x86_64")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"device": "Orin Nano"}, []),
        ({"version": "10.13.0"}, ["built by tensorrt 10.3.0, this is 10.13.0"]),
        ({"target": "sm86", "device": "A10"}, ["built for Orin (SM87), this is A10 (SM86)"]),
        ({"builder": "tensorrt_rtx", "version": "1.7"}, ["built by tensorrt, this is tensorrt_rtx"]),
        ({"platform": "linux-aarch64"}, ["built on jetpack-aarch64, this is linux-aarch64"]),
        ({"platform": ""}, []),
    ],
)
def test_a_difference_is_named_from_what_was_built_to_what_is_here(change: dict[str, str], expected: list[str]) -> None:
    assert mismatches(ORIN, replace(ORIN, **change)) == expected  # type: ignore[arg-type]  # all of these are texts


@pytest.mark.parametrize(
    ("built", "local", "fits"),
    [
        ("10.3.0", "10.13.0", True),
        ("10.13.0", "10.3.0", False),  # never an older runtime
        ("10.9.0", "10.13.0", True),  # numbers, not texts
        ("10.16.1", "11.4.0", True),
        ("11.0.0", "10.16.1", False),
        ("8.6.1", "10.3.0", False),  # TensorRT would, but vegrt builds none of 8
        ("9.3.0", "11.4.0", False),
        ("10.7.0", "10.7.0.post1", True),
        ("11.4.0", "12.0.0", False),
        ("nightly", "10.3.0", False),
    ],
)
def test_a_version_compatible_engine_runs_on_newer_versions_only(built: str, local: str, fits: bool) -> None:
    engine = replace(SERVER, version=built, version_compatible=True)
    assert (mismatches(engine, replace(SERVER, version=local)) == []) == fits
    assert mismatches(replace(engine, version_compatible=False), replace(SERVER, version=local))


def test_a_version_compatible_engine_stays_on_its_operating_system_and_processor() -> None:
    engine = replace(SERVER, version_compatible=True)
    newer = replace(SERVER, version="10.16.0")
    assert mismatches(engine, replace(newer, platform="windows-x86_64"))
    assert mismatches(engine, replace(newer, platform="linux-aarch64"))
    assert mismatches(replace(engine, platform=""), newer) == []  # of a bundle before it was recorded


def test_hardware_compatible_engines_run_from_ampere_on_but_not_on_a_jetson() -> None:
    another = replace(SERVER, target="sm120", device="RTX 5090")
    assert mismatches(replace(SERVER, hardware_compatible=True), another) == []
    assert mismatches(replace(SERVER, hardware_compatible=True), replace(SERVER, target="sm75"))
    thor = replace(ORIN, target="sm110", device="Thor")
    assert mismatches(replace(ORIN, hardware_compatible=True), thor) == ["built for Orin (SM87), this is Thor (SM110)"]
    ahead = Fingerprint("tensorrt_rtx", "1.7", "sm80plus")
    assert mismatches(ahead, Fingerprint("tensorrt_rtx", "1.7", "sm89")) == []
    assert mismatches(ahead, Fingerprint("tensorrt_rtx", "1.7", "sm75"))


@pytest.mark.parametrize(
    ("board", "processor", "expected"),
    [
        ("", "x86_64", "linux-x86_64"),
        ("", "AMD64", "linux-x86_64"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "aarch64", "jetpack-aarch64"),
        ("Raspberry Pi 5 Model B", "aarch64", "linux-aarch64"),
    ],
)
def test_a_jetson_is_a_platform_of_its_own(
    board: str, processor: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = replace(examine_machine(), board=board)
    monkeypatch.setattr("vegrt.infer.runtimes.fingerprint.examine_machine", lambda: machine)
    monkeypatch.setattr("platform.machine", lambda: processor)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert this_platform() == expected


def test_a_damaged_plan_is_not_opened(copied: Bundle) -> None:
    artifact = copied.artifact("engine", "fp16")
    assert read_plan(copied, artifact)
    file = copied.path_of(artifact.path)
    plan = bytearray(file.read_bytes())
    plan[len(plan) // 2] ^= 1
    file.write_bytes(plan)
    unverified = open_bundle(copied.path, verify=False)
    with pytest.raises(BundleError, match=r"fp16\.engine: damaged, its SHA-256 is not that of the manifest"):
        read_plan(unverified, artifact)


def test_the_manifest_keeps_the_fingerprint(bundle: Bundle) -> None:
    details = bundle.artifact("engine", "int8").details
    fingerprint = Fingerprint.from_details(details)
    assert (fingerprint.builder, fingerprint.target, fingerprint.version) == (
        "tensorrt_rtx",
        "sm80plus",
        details["version"],
    )
    assert details["profile"] == "b1-8-32"
    assert details["platform"] == this_platform()
    assert fitting_engine(bundle, "int8", fingerprint).variant == "int8"


def test_an_engine_of_another_version_is_one_line_with_its_cure(bundle: Bundle) -> None:
    fingerprint = Fingerprint.from_details(bundle.artifact("engine", "fp16").details)
    with pytest.raises(EngineError) as refused:
        fitting_engine(bundle, "fp16", replace(fingerprint, version="9.9", target="sm75"))
    line = str(refused.value)
    assert (
        f"built by tensorrt_rtx {fingerprint.version}, this is 9.9; built for SM80PLUS, this is SM75; build it: vegrt"
        in line
    )
    assert "\n" not in line
    with pytest.raises(BundleError, match="holds no fp16 tensorrt engine"):
        fitting_engine(bundle, "fp16", ORIN)


def test_engines_are_rebuilt_from_the_onnx_where_they_do_not_fit(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="builds real plans: pip install 'vegrt[rtx]'")
    from vegrt.export.engines.rebuild import rebuild_engines

    host = Fingerprint.from_details(bundle.artifact("engine", "fp16").details)
    path = tmp_path / "copied"
    shutil.copytree(bundle.path, path, ignore=shutil.ignore_patterns("int8*", "golden"))
    old = [
        artifact
        for artifact in bundle.manifest.artifacts
        if artifact.role in ("weights", "engine") or artifact.variant == "fp16"
    ]
    artifacts = tuple(
        replace(
            artifact,
            details=artifact.details | {"version": "1.0", "workspace_mib": 64}
            if artifact.role == "engine"
            else artifact.details,
        )
        for artifact in old
        if artifact.variant in ("", "fp16")
    )
    with changing(path) as staging:
        staging.finish(replace(bundle.manifest, artifacts=artifacts))
    with pytest.raises(EngineError, match=r"built by tensorrt_rtx 1\.0"):
        fitting_engine(open_bundle(path), "fp16", host)
    assert rebuild_engines(path, None, host) == ["fp16"]
    rebuilt = fitting_engine(open_bundle(path), "fp16", host)
    assert rebuilt.details["workspace_mib"] == 64  # as it was built before
    assert rebuild_engines(path, None, host) == []
