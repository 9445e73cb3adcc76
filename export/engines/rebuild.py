"""Rebuilds engines from a bundle's own ONNX models, on the machine that will run them; needs neither photos nor torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing, exclusive
from vegrt.errors import EngineError, MissingExtraError, RefusedEngineError, VegrtError
from vegrt.evaluate.golden import load_golden
from vegrt.export.engines.engines import Target, build_into, find_targets
from vegrt.export.engines.options import recorded_options
from vegrt.infer.runtimes.fingerprint import Fingerprint
from vegrt.infer.runtimes.tensorrt.engine import fitting_engine
from vegrt.terminal.progress import track

log = logging.getLogger(__name__)

Opening = Callable[[Bundle, str], object]


def rebuild_engines(
    path: Path, variants: Sequence[str] | None, local: Fingerprint, *, open_engine: Opening | None = None
) -> list[str]:
    """Build the engines that the bundle lacks for the fingerprint `local`; return their variants. Engines for other devices stay.

    variants: None for those of the bundle's engines, or those that an export builds if it has none. Profile and options are those
    of the bundle's last engine of the variant. open_engine: opens the engine of a variant; one that fits but is refused
    (RefusedEngineError) is built again. Raises VegrtError, and leaves the bundle unchanged, when a build fails.
    """
    with exclusive(path):
        return _rebuild(open_bundle(path), variants, local, open_engine)


def _rebuild(
    bundle: Bundle, variants: Sequence[str] | None, local: Fingerprint, open_engine: Opening | None
) -> list[str]:
    path, artifacts = bundle.path, bundle.manifest.artifacts
    existing = {artifact.variant for artifact in artifacts if artifact.role == "engine"}
    requested = variants or sorted(existing) or recorded_options(bundle).engine_variants
    states = {variant: _state(bundle, variant, local, open_engine) for variant in requested}
    missing = [variant for variant, state in states.items() if not state.opens]
    if not missing:
        return []
    targets = [target for target in find_targets() if target.module.__name__ == local.builder]
    if not targets:
        raise MissingExtraError(f"{local.builder}: not usable here; pip install 'vegrt[tensorrt]'")
    models = {variant: bundle.file("model", variant).read_bytes() for variant in missing}
    refused = {state.refused for state in states.values()}
    manifest = replace(bundle.manifest, artifacts=tuple(item for item in artifacts if item.path not in refused))
    golden = load_golden(bundle) if bundle.has("golden") else None
    with changing(path) as staging:
        for variant, model in track(models.items(), "Building engines", len(models)):
            options = recorded_options(bundle, variant)
            build_into(staging, _local_target(targets[0], local), variant, model, options, path, golden)
        staging.finish(manifest)
    log.info("%s: %s engines built for %s", path, ", ".join(missing), local)
    return missing


@dataclass(frozen=True, slots=True)
class _State:
    """Whether the engine of a variant opens here. refused: the path of one that fits and that TensorRT refuses, else empty."""

    opens: bool
    refused: str = ""


def _state(bundle: Bundle, variant: str, local: Fingerprint, open_engine: Opening | None) -> _State:
    try:
        engine = fitting_engine(bundle, variant, local)
    except VegrtError as error:
        log.info("%s", error)
        return _State(False)
    try:
        if open_engine is not None:
            open_engine(bundle, variant)
    except RefusedEngineError as error:
        log.info("%s", error)
        return _State(False, engine.path)
    return _State(True)


def _local_target(target: Target, local: Fingerprint) -> Target:
    if target.module.__version__ != local.version:
        raise EngineError(f"{local.builder}: {target.module.__version__} was imported, expected {local.version}")
    return Target(target.module, local.target, local.device)
