"""Engines of `tensorrt` on a GPU. Run by `make gpu-check`, where a missing GPU is a failure and not a skip."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.errors import RefusedEngineError
from vegrt.export.engines.audit import audit_model
from vegrt.export.engines.build import build_engine
from vegrt.export.engines.inspector import inspect_plan
from vegrt.export.engines.options import BuildOptions, Profile
from vegrt.export.engines.rebuild import rebuild_engines
from vegrt.infer.runtimes.tensorrt.engine import fitting_engine, local_fingerprint, open_tensorrt

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("variant", "matched"), [("fp16", 16), ("int8", 15)])
def test_every_type_of_an_engine_is_read(bundle: Bundle, variant: str, matched: int) -> None:
    details = fitting_engine(bundle, variant, local_fingerprint()).details
    assert (details["matched"], details["unchecked"]) == (matched, 0), f"layers from the {details['layers_from']}"


@pytest.mark.parametrize("options", [BuildOptions(), BuildOptions(version_compatible=True), BuildOptions(tf32=True)])
def test_the_plan_opens_and_its_inspector_lists_every_weight_layer(bundle: Bundle, options: BuildOptions) -> None:
    import tensorrt as trt

    model = bundle.file("model", "int8").read_bytes()
    engine = build_engine(trt, "int8", model, Profile(1, 2, 4), options=options)
    audit = audit_model(inspect_plan(trt, "int8", engine.plan, 2), model, "Int8", "engine inspector")
    assert (audit.matched, audit.unchecked) == (15, ())


def test_a_timing_cache_is_taken_back_and_one_of_another_device_is_refused(bundle: Bundle) -> None:
    import tensorrt as trt

    model = bundle.file("model", "fp16").read_bytes()
    cache = build_engine(trt, "fp16", model, Profile(1, 2, 4)).timing_cache
    assert cache
    assert build_engine(trt, "fp16", model, Profile(1, 2, 4), timing_cache=cache).timing_cache
    assert build_engine(trt, "fp16", model, Profile(1, 2, 4), timing_cache=b"damaged").timing_cache


def test_a_plan_that_tensorrt_refuses_is_built_again(copied: Bundle) -> None:
    local = local_fingerprint()
    artifact = fitting_engine(copied, "fp16", local)
    plan = copied.path_of(artifact.path).read_bytes()
    with changing(copied.path) as staging:
        staging.file(artifact.path).write_bytes(plan[: len(plan) // 2])
        staging.add(artifact.path, "engine", "fp16", artifact.details)
        staging.finish(replace(copied.manifest))
    damaged = open_bundle(copied.path)
    with pytest.raises(RefusedEngineError, match="refuses it"):
        open_tensorrt(damaged, "fp16")
    opened = rebuild_engines(
        copied.path, ["fp16"], local, open_engine=lambda bundle, name: open_tensorrt(bundle, name).close()
    )
    assert opened == ["fp16"]
    open_tensorrt(open_bundle(copied.path), "fp16").close()
