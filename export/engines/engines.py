"""The TensorRT modules that are usable on this machine, and the engines that they add to a bundle."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from vegrt.bundle.change import Staging
from vegrt.errors import EngineError, MissingExtraError
from vegrt.evaluate.golden import GoldenPhotos, check_golden
from vegrt.export.engines.accept import check_model
from vegrt.export.engines.audit import LayerAudit, audit_model, check_audit
from vegrt.export.engines.build import Engine, build_engine
from vegrt.export.engines.inspector import inspect_plan
from vegrt.export.engines.options import BuildOptions, ExportOptions
from vegrt.files.atomic import write_json
from vegrt.infer.machine.gpu import probe_gpus
from vegrt.infer.runtimes.fingerprint import Fingerprint, allows_hardware_compatibility, this_platform
from vegrt.infer.runtimes.tensorrt.engine import open_plan
from vegrt.terminal.progress import track

log = logging.getLogger(__name__)

WEIGHT_TYPES = {"fp32": "Float", "fp16": "Half", "bf16": "BFloat16", "int8": "Int8"}


@dataclass(frozen=True, slots=True)
class Target:
    """A TensorRT module and the device for which it builds.

    name: part of the folder's name, such as sm87. device: the name of the GPU, which is here; empty for a build ahead of time.
    """

    module: ModuleType
    name: str
    device: str = ""

    @property
    def folder(self) -> str:
        """Return the part that the names of all its folders begin with: module, version, platform and device."""
        return f"{self.module.__name__}-{self.module.__version__}-{this_platform()}-{self.name}"


def find_targets() -> list[Target]:
    """Return `tensorrt` if it is installed and there is a GPU, and `tensorrt_rtx` if installed: it needs no GPU to build."""
    targets: list[Target] = []
    gpus = probe_gpus().gpus if find_spec("tensorrt") else ()
    devices = {"tensorrt": (gpus[0].target, gpus[0].name)} if gpus else {}
    devices |= {"tensorrt_rtx": ("sm80plus", "")} if find_spec("tensorrt_rtx") else {}
    for name, device in devices.items():
        try:
            targets.append(Target(import_module(name), *device))
        except ImportError as error:  # installed without the system libraries that it needs
            log.warning("%s: installed but not usable (%s); building no engines with it", name, error)
    return targets


def add_engines(
    staging: Staging,
    models: dict[str, bytes],
    *,
    required: bool | None,
    options: ExportOptions | None = None,
    previous: Path | None = None,
    golden: GoldenPhotos | None = None,
) -> None:
    """Stage engines of the options' variants, with their layer audits, for every target.

    previous: the bundle, whose timing caches are reused. golden: photos that an engine for this GPU has to answer.
    required: False builds nothing. None builds if possible and logs failures, as the ONNX models do not depend on engines.
    True raises MissingExtraError when there is no target, and EngineError when a build fails, when a layer with weights did not
    get the type of its variant, or when a golden photo is answered wrongly.
    """
    options = options or ExportOptions()
    targets = [] if required is False else _usable(find_targets(), options)
    if required and not targets:
        raise MissingExtraError(
            "--engine: neither tensorrt with a GPU nor tensorrt_rtx is usable here; to build engines without a GPU: "
            "pip install 'vegrt[rtx]'"
        )
    jobs = [(target, variant) for target in targets for variant in options.engine_variants]
    for target, variant in track(jobs, "Building engines"):
        try:
            build_into(staging, target, variant, models[variant], options, previous, golden)
        except EngineError as error:
            if required:
                raise
            log.warning("engine not built: %s; vegrt export --engine makes this an error", error)


def build_into(
    staging: Staging,
    target: Target,
    variant: str,
    model: bytes,
    options: ExportOptions,
    previous: Path | None,
    golden: GoldenPhotos | None = None,
) -> None:
    """Stage one engine with its audit and timing cache. Raises EngineError as add_engines does."""
    module, subject = target.module, f"{variant}.onnx for {target.module.__name__}"
    options = replace(options, build=supported_options(options.build, machine=this_platform()))
    check_model(subject, model)
    cache_name = f"engines/{target.folder}/timing.cache"  # it serves engines of every profile and option
    cache = _read_first((staging.folder, previous), cache_name)
    engine = build_engine(module, subject, model, options.profile, options=options.build, timing_cache=cache)
    audit = _audit(target, subject, engine, model, variant, options)
    check_audit(subject, audit, min_share=options.min_int8 if variant == "int8" else None)
    folder = f"engines/{target.folder}-{options.profile}{options.build.suffix}"
    path, layers = f"{folder}/{variant}.engine", f"{folder}/{variant}.layers.json"
    details = _details(target, options, audit) | _golden_details(target, path, engine.plan, variant, options, golden)
    staging.file(path).write_bytes(engine.plan)
    staging.add(path, "engine", variant, details)
    write_json(staging.file(layers), audit.to_dict())
    staging.add(layers, "audit", variant)
    if engine.timing_cache:
        staging.file(cache_name).write_bytes(engine.timing_cache)
        staging.add(cache_name, "timing")
    log.info("%s: %s", path, audit)


def supported_options(options: BuildOptions, *, machine: str) -> BuildOptions:
    """Return the options without what TensorRT does not support on a platform, such as jetpack-aarch64."""
    if not options.hardware_compatible or allows_hardware_compatibility(machine):
        return options
    log.warning("--hardware-compatible: not supported on JetPack; building for this GPU only")
    return replace(options, hardware_compatible=False)


def _audit(
    target: Target, subject: str, engine: Engine, model: bytes, variant: str, options: ExportOptions
) -> LayerAudit:
    """Return the audit of the engine inspector where there is a GPU, unless the builder's log leaves fewer layers unchecked."""
    wanted = WEIGHT_TYPES[variant]
    logged = audit_model(engine.layers, model, wanted)
    if not target.device:
        return logged
    layers = inspect_plan(target.module, subject, engine.plan, options.profile.tuned)
    inspected = audit_model(layers, model, wanted, "engine inspector")
    return min(inspected, logged, key=lambda audit: len(audit.unchecked))


def _usable(targets: list[Target], options: ExportOptions) -> list[Target]:
    if not options.build.version_compatible:
        return targets
    usable = [target for target in targets if target.module.__name__ != "tensorrt_rtx"]
    if len(usable) < len(targets):  # the package lacks the lean runtime that such an engine contains (1.7)
        log.warning("--version-compatible: tensorrt_rtx cannot build such engines; building none with it")
    return usable


def _details(target: Target, options: ExportOptions, audit: LayerAudit) -> dict[str, object]:
    module, build = target.module, options.build
    fingerprint = Fingerprint(
        module.__name__,
        module.__version__,
        target.name,
        target.device,
        this_platform(),
        version_compatible=build.version_compatible,
        hardware_compatible=build.hardware_compatible,
    )
    settings = asdict(build) | {"profile": str(options.profile), "min_int8": options.min_int8}
    return fingerprint.to_dict() | settings | audit.counts()


def _golden_details(
    target: Target, path: str, plan: bytes, variant: str, options: ExportOptions, golden: GoldenPhotos | None
) -> dict[str, object]:
    """Return how a plan that was built for this GPU answers the golden photos; nothing where it cannot run.

    Not yet run on hardware: see docs/gpu.md. Raises EngineError when it answers them wrongly.
    """
    if golden is None or not target.device:
        return {}
    runner = open_plan(plan, path, golden.logits.shape[1], runs_host_code=options.build.version_compatible)
    try:
        return {"golden_cosine": check_golden(path, runner, variant, golden).cosine}
    finally:
        runner.close()


def _read_first(folders: Sequence[Path | None], name: str) -> bytes:
    """Return the content of a file in the first of the folders that has it; empty without one."""
    return next(((folder / name).read_bytes() for folder in folders if folder and (folder / name).is_file()), b"")
