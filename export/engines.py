"""Which TensorRT modules are usable here, and the engines that they add to a bundle."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import onnx

from vegrt.bundle import Staging
from vegrt.errors import EngineError, MissingExtraError
from vegrt.export.engine import Profile, build_engine
from vegrt.export.layers import Audit, audit_layers
from vegrt.files import write_json
from vegrt.infer.gpu import probe_gpus

log = logging.getLogger(__name__)

WANTED = {"fp16": "Half", "int8": "Int8"}


@dataclass(frozen=True, slots=True)
class Target:
    """A TensorRT module and the device that it builds for. name: in the folder's and file's name."""

    module: ModuleType
    name: str


def find_targets() -> list[Target]:
    """Return `tensorrt` for this machine's GPU where both are there, and `tensorrt_rtx`, which needs no GPU to build."""
    found: list[Target] = []
    gpus = probe_gpus().gpus if find_spec("tensorrt") else ()
    wanted = {"tensorrt": "sm" + gpus[0].compute_capability.replace(".", "")} if gpus else {}
    wanted |= {"tensorrt_rtx": "sm80plus"} if find_spec("tensorrt_rtx") else {}
    for name, device in wanted.items():
        try:
            found.append(Target(import_module(name), device))
        except ImportError as error:  # installed without the system libraries that it needs
            log.warning("%s: installed but not usable (%s); no engines from it", name, error)
    return found


def add_engines(staging: Staging, models: dict[str, bytes], *, required: bool | None) -> None:
    """Stage an fp16 and an int8 engine, with the builder's layer audit, for every target.

    required: False builds nothing. None builds what is possible and logs what is not: the ONNX models do not depend on it.
    True raises MissingExtraError when there is no target, and EngineError when a build fails or when a convolution did not
    get the type that its variant promises.
    """
    targets = [] if required is False else find_targets()
    if required and not targets:
        raise MissingExtraError(
            "--engine: neither tensorrt with a GPU nor tensorrt_rtx is usable here; pip install 'vegrt[rtx]' builds plans "
            "without a GPU"
        )
    for target in targets:
        for variant, wanted in WANTED.items():
            try:
                _add_engine(staging, target, variant, models[variant], wanted)
            except EngineError as error:
                if required:
                    raise
                log.warning("no engine: %s; vegrt export --engine makes this an error", error)


def _add_engine(staging: Staging, target: Target, variant: str, model: bytes, wanted: str) -> None:
    profile, module = Profile(), target.module
    name = f"{variant}.onnx for {module.__name__}"
    engine = build_engine(module, name, model, profile)
    audit = audit_layers(engine.layers, convolutions(model), wanted)
    check_audit(name, audit)
    fingerprint = f"{module.__name__}-{module.__version__}-{target.name}-{profile}"
    path = f"engines/{fingerprint}/{variant}.engine"
    staging.file(path).write_bytes(engine.plan)
    matched = {"convolutions": audit.convolutions, "matched": audit.matched, "wanted": wanted}
    details = {
        "builder": module.__name__,
        "version": module.__version__,
        "target": target.name,
        "profile": str(profile),
    }
    staging.add(path, "engine", variant, details | matched)
    layers = f"engines/{fingerprint}/{variant}.layers.json"
    write_json(staging.file(layers), audit.to_dict())
    staging.add(layers, "audit", variant)
    log.info("%s: %d of %d convolutions %s", path, audit.matched, audit.convolutions, wanted)


def check_audit(subject: str, audit: Audit) -> None:
    """Raise EngineError unless every convolution has the wanted type in the builder's own list."""
    if not audit.layers:
        raise EngineError(
            f"{subject}: the builder listed no layers in a form that is known; its types cannot be proven"
        )
    if audit.fallbacks:
        raise EngineError(
            f"{subject}: {audit.matched} of {audit.convolutions} convolutions are {audit.wanted} in the builder's list; "
            f"not so: {', '.join(audit.fallbacks)}"
        )


def convolutions(model: bytes) -> list[str]:
    """Return the names of the Conv nodes of an ONNX model."""
    graph = onnx.load_model_from_string(model).graph
    return [node.name for node in graph.node if node.op_type == "Conv"]
