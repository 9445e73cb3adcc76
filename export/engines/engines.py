"""The TensorRT modules that are usable on this machine, and the engines that they add to a bundle."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import onnx
import onnx_ir as ir

from vegrt.bundle.change import Staging
from vegrt.calibration.graph.work import weight_layers
from vegrt.errors import EngineError, MissingExtraError
from vegrt.export.engines.accept import check_model
from vegrt.export.engines.build import ExportOptions, build_engine
from vegrt.export.engines.layers import Layer, LayerAudit, audit_layers
from vegrt.files.atomic import write_json
from vegrt.infer.machine.gpu import probe_gpus
from vegrt.infer.runtimes.fingerprint import Fingerprint
from vegrt.terminal.progress import track

log = logging.getLogger(__name__)

WEIGHT_TYPES = {"fp32": "Float", "fp16": "Half", "bf16": "BFloat16", "int8": "Int8"}
DEFAULT_VARIANTS = ("fp16", "int8")


@dataclass(frozen=True, slots=True)
class Target:
    """A TensorRT module and the device for which it builds. name: part of the folder's name. device: the GPU's name, or empty."""

    module: ModuleType
    name: str
    device: str = ""


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
) -> None:
    """Stage engines of fp16, int8 and the variants that the options add, with the builder's layer audit, for every target.

    previous: the bundle, whose timing caches are reused. required: False builds nothing. None builds if possible and logs
    failures, as the ONNX models do not depend on engines. True raises MissingExtraError when there is no target, and EngineError
    when a build fails or when a layer with weights did not get the type of its variant.
    """
    options = options or ExportOptions()
    targets = [] if required is False else _usable(find_targets(), options)
    if required and not targets:
        raise MissingExtraError(
            "--engine: neither tensorrt with a GPU nor tensorrt_rtx is usable here; to build engines without a GPU: "
            "pip install 'vegrt[rtx]'"
        )
    variants = {*DEFAULT_VARIANTS, *(("fp32",) if options.fp32_engine else ()), *(("bf16",) if options.bf16 else ())}
    jobs = [(target, variant) for target in targets for variant in WEIGHT_TYPES if variant in variants]
    for target, variant in track(jobs, "Building engines"):
        try:
            build_into(staging, target, variant, models[variant], options, previous)
        except EngineError as error:
            if required:
                raise
            log.warning("engine not built: %s; vegrt export --engine makes this an error", error)


def build_into(
    staging: Staging, target: Target, variant: str, model: bytes, options: ExportOptions, previous: Path | None
) -> None:
    """Stage one engine with its audit and timing cache. Raises EngineError as add_engines does."""
    module, subject = target.module, f"{variant}.onnx for {target.module.__name__}"
    check_model(subject, model)
    folder = f"engines/{engine_folder(target, options)}"
    cache = _cache_in((staging.folder, previous), f"{folder}/timing.cache")
    engine = build_engine(module, subject, model, options.profile, options=options.build, timing_cache=cache)
    audit = audit_model(engine.layers, model, WEIGHT_TYPES[variant])
    check_audit(subject, audit, min_share=options.min_int8 if variant == "int8" else None)
    path = f"{folder}/{variant}.engine"
    staging.file(path).write_bytes(engine.plan)
    staging.add(path, "engine", variant, _details(target, options, audit))
    layers = f"{folder}/{variant}.layers.json"
    write_json(staging.file(layers), audit.to_dict())
    staging.add(layers, "audit", variant)
    if engine.timing_cache:
        staging.file(f"{folder}/timing.cache").write_bytes(engine.timing_cache)
        staging.add(f"{folder}/timing.cache", "timing")
    log.info("%s: %s", path, audit)


def engine_folder(target: Target, options: ExportOptions) -> str:
    """Return the folder name of a target's engines: module, version, device, profile, and -vc or -hc for wider compatibility."""
    build = options.build
    suffix = ("-vc" if build.version_compatible else "") + ("-hc" if build.hardware_compatible else "")
    return f"{target.module.__name__}-{target.module.__version__}-{target.name}-{options.profile}{suffix}"


def audit_model(layers: Sequence[Layer], model: bytes, wanted: str) -> LayerAudit:
    """Return the audit of a builder's layers against the ONNX model; only layers that are quantized there have to be Int8."""
    names = weight_layer_names(model)
    in_float = set(names) - set(weight_layer_names(model, quantized=True)) if wanted == "Int8" else ()
    return audit_layers(layers, names, wanted, in_float=in_float)


def check_audit(subject: str, audit: LayerAudit, *, min_share: float | None = None) -> None:
    """Raise EngineError unless the layers with weights have the wanted type in the builder's own list.

    min_share: the smallest share of all of them; None requires each layer that the ONNX graph does not leave in float.
    """
    if not audit.layers:
        raise EngineError(
            f"{subject}: the builder listed no layers in a known format; the types of its layers cannot be checked"
        )
    if audit.weight_layers and not audit.matched:
        raise EngineError(f"{subject}: {audit}; this is no {audit.wanted} model, export it again")
    if min_share is not None and audit.share < min_share:
        raise EngineError(f"{subject}: {audit}; {audit.share:.1%}, expected at least {min_share:.1%} (--min-int8)")
    if min_share is None and audit.fallbacks:
        raise EngineError(f"{subject}: {audit} in its list; expected none (--min-int8 SHARE allows some)")


def weight_layer_names(model: bytes, *, quantized: bool = False) -> list[str]:
    """Return the names of an ONNX model's layers with weights. quantized: only those that read 8-bit data and weights."""
    nodes = weight_layers(ir.from_proto(onnx.load_model_from_string(model)))
    return [str(node.name) for node in nodes if not quantized or _reads_8_bits(node)]


def _reads_8_bits(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs[:2] if value is not None]
    return all(producer is not None and producer.op_type == "DequantizeLinear" for producer in producers)


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
        version_compatible=build.version_compatible,
        hardware_compatible=build.hardware_compatible,
    )
    counts = {"weight_layers": audit.weight_layers, "matched": audit.matched, "wanted": audit.wanted}
    return fingerprint.to_dict() | asdict(build) | {"profile": str(options.profile)} | counts


def _cache_in(folders: Sequence[Path | None], name: str) -> bytes:
    """Return the timing cache of an earlier build, from the first of the folders that has one; empty without one."""
    return next(((folder / name).read_bytes() for folder in folders if folder and (folder / name).is_file()), b"")
