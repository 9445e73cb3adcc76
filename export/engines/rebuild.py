"""Engines made anew from a bundle's own ONNX models, on the machine that will run them: no photos, no torch."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing, exclusive
from vegrt.errors import EngineError, MissingExtraError, VegrtError
from vegrt.export.engines.build import BuildOptions, Profile
from vegrt.export.engines.engines import DEFAULT, Target, build_into, find_targets
from vegrt.export.engines.options import Options
from vegrt.infer.runtimes.fingerprint import Fingerprint
from vegrt.infer.runtimes.tensorrt import fitting_engine
from vegrt.terminal.progress import track

log = logging.getLogger(__name__)


def rebuild_engines(path: Path, variants: Sequence[str] | None, here: Fingerprint) -> list[str]:
    """Build the engines that the bundle lacks for `here`; return their variants. The others stay for their own devices.

    variants: None is those that the bundle has engines of, fp16 and int8 where it has none. Profile and options are those of
    the bundle's last engine of the variant. Raises VegrtError, and leaves the bundle as it was, when a build fails.
    """
    with exclusive(path):
        return _rebuild(open_bundle(path), variants, here)


def _rebuild(bundle: Bundle, variants: Sequence[str] | None, here: Fingerprint) -> list[str]:
    path = bundle.path
    have = {one.variant for one in bundle.manifest.artifacts if one.role == "engine"}
    lacking = [variant for variant in variants or sorted(have) or DEFAULT if not _fits(bundle, variant, here)]
    if not lacking:
        return []
    targets = [target for target in find_targets() if target.module.__name__ == here.builder]
    if not targets:
        raise MissingExtraError(f"{here.builder}: not usable here; pip install 'vegrt[tensorrt]'")
    models = {variant: bundle.file("model", variant).read_bytes() for variant in lacking}
    with changing(path) as staging:
        for variant, model in track(models.items(), "Building engines", len(models)):
            build_into(staging, _named(targets[0], here), variant, model, _options(bundle, variant), path)
        staging.finish(bundle.manifest)
    log.info("%s: %s engines built for %s", path, ", ".join(lacking), here)
    return lacking


def _fits(bundle: Bundle, variant: str, here: Fingerprint) -> bool:
    try:
        fitting_engine(bundle, variant, here)
    except VegrtError as error:
        log.info("%s", error)
        return False
    return True


def _named(target: Target, here: Fingerprint) -> Target:
    if target.module.__version__ != here.version:
        raise EngineError(f"{here.builder}: {target.module.__version__} was imported, {here.version} was asked for")
    return Target(target.module, here.target, here.device)


def _options(bundle: Bundle, variant: str) -> Options:
    """Return the options of the bundle's last engine of the variant; the defaults where there is none."""
    known = [one.details for one in bundle.manifest.artifacts if (one.role, one.variant) == ("engine", variant)]
    if not known:
        return Options()
    details = known[-1]
    found = re.fullmatch(r"b(\d{1,6})-(\d{1,6})-(\d{1,6})", str(details.get("profile")))
    if found is None:
        raise EngineError(f"{bundle.path}: its {variant} engine has no profile such as b1-8-32; vegrt export it again")
    sizes = map(int, found.groups())
    build = BuildOptions(**{key: details[key] for key in BuildOptions.__slots__ if key in details})
    return Options(profile=Profile(*sizes), build=build)
