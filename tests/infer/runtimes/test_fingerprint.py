"""Engines of another device or version: what the line says, and the rebuilding that cures it. No GPU needed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.errors import BundleError, EngineError
from vegrt.infer.runtimes.fingerprint import Fingerprint, mismatches
from vegrt.infer.runtimes.tensorrt.engine import fitting_engine

ORIN = Fingerprint("tensorrt", "10.3.0", "sm87", "Orin")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"device": "Orin Nano"}, []),
        ({"version": "10.13.0"}, ["built by tensorrt 10.3.0, this is 10.13.0"]),
        ({"target": "sm86", "device": "A10"}, ["built for Orin (SM87), this is A10 (SM86)"]),
        ({"builder": "tensorrt_rtx", "version": "1.7"}, ["built by tensorrt, this is tensorrt_rtx"]),
    ],
)
def test_a_difference_is_named_from_what_was_built_to_what_is_here(change: dict[str, str], expected: list[str]) -> None:
    assert mismatches(ORIN, replace(ORIN, **change)) == expected  # type: ignore[arg-type]  # all of these are texts


def test_compatible_engines_fit_more() -> None:
    newer, other = replace(ORIN, version="10.13.0"), replace(ORIN, target="sm120", device="RTX 5090")
    assert mismatches(replace(ORIN, version_compatible=True), newer) == []
    assert mismatches(replace(ORIN, version_compatible=True), replace(ORIN, version="11.4.0"))
    assert mismatches(replace(ORIN, hardware_compatible=True), other) == []
    assert mismatches(replace(ORIN, hardware_compatible=True), replace(ORIN, target="sm75"))
    ahead = Fingerprint("tensorrt_rtx", "1.7", "sm80plus")
    assert mismatches(ahead, Fingerprint("tensorrt_rtx", "1.7", "sm89")) == []
    assert mismatches(ahead, Fingerprint("tensorrt_rtx", "1.7", "sm75"))


def test_the_manifest_keeps_the_fingerprint(bundle: Bundle) -> None:
    details = bundle.artifact("engine", "int8").details
    found = Fingerprint.from_details(details)
    assert (found.builder, found.target, found.version) == ("tensorrt_rtx", "sm80plus", details["version"])
    assert details["profile"] == "b1-8-32"
    assert fitting_engine(bundle, "int8", found).variant == "int8"


def test_an_engine_of_another_version_is_one_line_with_its_cure(bundle: Bundle) -> None:
    found = Fingerprint.from_details(bundle.artifact("engine", "fp16").details)
    with pytest.raises(EngineError) as refused:
        fitting_engine(bundle, "fp16", replace(found, version="9.9", target="sm75"))
    line = str(refused.value)
    assert (
        f"built by tensorrt_rtx {found.version}, this is 9.9; built for SM80PLUS, this is SM75; build it: vegrt" in line
    )
    assert "\n" not in line
    with pytest.raises(BundleError, match="holds no fp16 tensorrt engine"):
        fitting_engine(bundle, "fp16", ORIN)


def test_engines_are_rebuilt_from_the_onnx_where_they_do_not_fit(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="builds real plans: pip install 'vegrt[rtx]'")
    from vegrt.export.engines.rebuild import rebuild_engines

    here = Fingerprint.from_details(bundle.artifact("engine", "fp16").details)
    path = tmp_path / "copied"
    shutil.copytree(bundle.path, path, ignore=shutil.ignore_patterns("int8*", "golden"))
    old = [one for one in bundle.manifest.artifacts if one.role in ("weights", "engine") or one.variant == "fp16"]
    kept = tuple(
        replace(
            one, details=one.details | {"version": "1.0", "workspace_mib": 64} if one.role == "engine" else one.details
        )
        for one in old
        if one.variant in ("", "fp16")
    )
    with changing(path) as staging:
        staging.finish(replace(bundle.manifest, artifacts=kept))
    with pytest.raises(EngineError, match=r"built by tensorrt_rtx 1\.0"):
        fitting_engine(open_bundle(path), "fp16", here)
    assert rebuild_engines(path, None, here) == ["fp16"]
    rebuilt = fitting_engine(open_bundle(path), "fp16", here)
    assert rebuilt.details["workspace_mib"] == 64  # as it was built before
    assert rebuild_engines(path, None, here) == []
