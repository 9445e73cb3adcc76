"""Rebuilds engines from a bundle's own ONNX models, on the machine that will run them; needs neither photos nor torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing, exclusive
from vegrt.errors import EngineError, MissingExtraError, VegrtError
from vegrt.export.engines.build import BuildOptions, ExportOptions, Profile
from vegrt.export.engines.engines import DEFAULT_VARIANTS, Target, build_into, find_targets
from vegrt.infer.runtimes.fingerprint import Fingerprint
from vegrt.infer.runtimes.tensorrt.engine import fitting_engine
from vegrt.terminal.progress import track

log = logging.getLogger(__name__)


def rebuild_engines(path: Path, variants: Sequence[str] | None, here: Fingerprint) -> list[str]:
    """Build the engines that the bundle lacks for `here`; return their variants. Engines for other devices stay.

    variants: None for those of the bundle's engines, or fp16 and int8 if it has none. Profile and options are those of the
    bundle's last engine of the variant. Raises VegrtError, and leaves the bundle unchanged, when a build fails.
    """
    with exclusive(path):
        return _rebuild(open_bundle(path), variants, here)


def _rebuild(bundle: Bundle, variants: Sequence[str] | None, here: Fingerprint) -> list[str]:
    path = bundle.path
    existing = {artifact.variant for artifact in bundle.manifest.artifacts if artifact.role == "engine"}
    missing = [
        variant for variant in variants or sorted(existing) or DEFAULT_VARIANTS if not _fits(bundle, variant, here)
    ]
    if not missing:
        return []
    targets = [target for target in find_targets() if target.module.__name__ == here.builder]
    if not targets:
        raise MissingExtraError(f"{here.builder}: not usable here; pip install 'vegrt[tensorrt]'")
    models = {variant: bundle.file("model", variant).read_bytes() for variant in missing}
    with changing(path) as staging:
        for variant, model in track(models.items(), "Building engines", len(models)):
            build_into(staging, _named(targets[0], here), variant, model, _options(bundle, variant), path)
        staging.finish(bundle.manifest)
    log.info("%s: %s engines built for %s", path, ", ".join(missing), here)
    return missing


def _fits(bundle: Bundle, variant: str, here: Fingerprint) -> bool:
    try:
        fitting_engine(bundle, variant, here)
    except VegrtError as error:
        log.info("%s", error)
        return False
    return True


def _named(target: Target, here: Fingerprint) -> Target:
    if target.module.__version__ != here.version:
        raise EngineError(f"{here.builder}: {target.module.__version__} was imported, expected {here.version}")
    return Target(target.module, here.target, here.device)


def _options(bundle: Bundle, variant: str) -> ExportOptions:
    """Return the options of the bundle's last engine of the variant; the defaults without one."""
    artifacts = bundle.manifest.artifacts
    engines = [artifact for artifact in artifacts if (artifact.role, artifact.variant) == ("engine", variant)]
    if not engines:
        return ExportOptions()
    details = engines[-1].details
    profile = Profile.of_engine(str(bundle.path / engines[-1].path), details)
    build = BuildOptions(**{key: details[key] for key in BuildOptions.__slots__ if key in details})
    return ExportOptions(profile=profile, build=build)
