"""Engines that TensorRT refuses although their fingerprint fits are built again, by the real builder of TensorRT-RTX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.errors import EngineError, RefusedEngineError
from vegrt.infer.runtimes.fingerprint import Fingerprint

pytest.importorskip("tensorrt_rtx", reason="builds real plans: pip install 'vegrt[rtx]'")


@pytest.fixture
def moved(copied: Bundle) -> Bundle:
    """A bundle whose only engine is int8, in a folder of another name than a new one would get."""
    folder = copied.path / "engines/of-before"
    Path(copied.file("engine", "int8")).parent.rename(folder)
    engine = replace(copied.artifact("engine", "int8"), path="engines/of-before/int8.engine")
    others = [item for item in copied.manifest.artifacts if not item.path.startswith("engines/")]
    for name in ("fp16.engine", "fp16.layers.json", "int8.layers.json"):
        (folder / name).unlink()
    with changing(copied.path) as staging:
        staging.finish(replace(copied.manifest, artifacts=(*others, engine)))
    return open_bundle(copied.path)


def test_a_refused_engine_is_replaced(moved: Bundle) -> None:
    from vegrt.export.engines.rebuild import rebuild_engines

    local = Fingerprint.from_details(moved.artifact("engine", "int8").details)

    def refuse(bundle: Bundle, variant: str) -> None:
        raise RefusedEngineError(f"{bundle.artifact('engine', variant).path}: refused")

    assert rebuild_engines(moved.path, None, local) == []
    assert rebuild_engines(moved.path, None, local, open_engine=lambda *_: None) == []
    assert rebuild_engines(moved.path, None, local, open_engine=refuse) == ["int8"]
    after = open_bundle(moved.path)
    engines = [item.path for item in after.manifest.artifacts if item.role == "engine"]
    assert engines == [f"engines/tensorrt_rtx-{local.version}-{local.platform}-sm80plus-b1-8-32/int8.engine"]
    assert not (moved.path / "engines/of-before/int8.engine").exists()
    assert after.artifact("engine", "int8").details["matched"] == 15


def test_only_a_refused_engine_is_rebuilt(moved: Bundle) -> None:
    from vegrt.export.engines.rebuild import rebuild_engines

    local = Fingerprint.from_details(moved.artifact("engine", "int8").details)

    def no_memory(_bundle: Bundle, _variant: str) -> None:
        raise EngineError("engine: no execution context")

    with pytest.raises(EngineError, match="no execution context"):
        rebuild_engines(moved.path, None, local, open_engine=no_memory)
    assert open_bundle(moved.path).manifest == moved.manifest
