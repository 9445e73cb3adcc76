"""The engines of a bundle: the one that fits this machine, opened."""

from __future__ import annotations

import hashlib

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import Artifact
from vegrt.errors import BundleError, EngineError, require
from vegrt.infer.machine.gpu import probe_gpus
from vegrt.infer.runtimes.cuda.runtime import Cuda, load_cudart
from vegrt.infer.runtimes.fingerprint import Fingerprint, mismatches, this_platform
from vegrt.infer.runtimes.tensorrt.runner import TensorRtRunner, load_engine


def open_tensorrt(bundle: Bundle, variant: str, path: str = "") -> TensorRtRunner:
    """Return a runner for the bundle's engine of `variant` that was built by this TensorRT for this GPU. path: of the engine.

    Raises EngineError when there is no GPU, when no engine fits it, or when TensorRT refuses the plan; BundleError when the
    plan is damaged.
    """
    artifact = fitting_engine(bundle, variant, local_fingerprint(), path)
    compatible = Fingerprint.from_details(artifact.details).version_compatible
    plan, classes = read_plan(bundle, artifact), len(bundle.manifest.classes)
    return open_plan(plan, artifact.path, classes, cure=_rebuild(bundle), runs_host_code=compatible)


def open_plan(
    plan: bytes, subject: str, classes: int, *, cure: str = "report it", runs_host_code: bool = False
) -> TensorRtRunner:
    """Return the runner of a plan, as `load_engine` does, on this machine's GPU."""
    trt = require("tensorrt", "tensorrt")
    return load_engine(trt, Cuda(load_cudart()), plan, subject, classes, cure=cure, runs_host_code=runs_host_code)


def read_plan(bundle: Bundle, artifact: Artifact) -> bytes:
    """Return an engine's bytes. Raises BundleError unless they have the SHA-256 that the manifest states.

    Compared here once more, because a bundle may be opened unverified, and a version-compatible engine contains code that runs.
    """
    plan = bundle.path_of(artifact.path).read_bytes()
    if hashlib.sha256(plan).hexdigest() != artifact.sha256:
        raise BundleError(f"{artifact.path}: damaged, its SHA-256 is not that of the manifest; {_rebuild(bundle)}")
    return plan


def local_fingerprint() -> Fingerprint:
    """Return this machine's TensorRT and GPU. Raises EngineError without a GPU, MissingExtraError without TensorRT.

    TensorRT is not imported without a GPU: its Runtime would crash the process at exit.
    """
    probe = probe_gpus()
    if not probe.gpus:
        raise EngineError(f"tensorrt: no usable NVIDIA GPU ({probe.problem}); leave --runtime out to run on the CPU")
    trt, gpu = require("tensorrt", "tensorrt"), probe.gpus[0]
    return Fingerprint("tensorrt", trt.__version__, gpu.target, gpu.name, this_platform())


def fitting_engine(bundle: Bundle, variant: str, here: Fingerprint, path: str = "") -> Artifact:
    """Return the bundle's engine of `variant` that opens here; of several, one that was not built to run elsewhere too.

    path: the only engine to consider; empty for all.
    Raises BundleError when there is none of that builder, EngineError that says how the nearest one differs.
    """
    engines = [item for item in bundle.manifest.artifacts if (item.role, item.variant) == ("engine", variant)]
    engines = [item for item in engines if item.details.get("builder") == here.builder and path in ("", item.path)]
    if not engines:
        raise BundleError(f"{bundle.path}: holds no {variant} {here.builder} engine; {_rebuild(bundle)}")
    pairs = [(mismatches(Fingerprint.from_details(engine.details), here), engine) for engine in engines]
    problems, nearest = min(pairs, key=lambda pair: (len(pair[0]), _width(pair[1])))
    if problems:
        raise EngineError(f"{nearest.path}: {'; '.join(problems)}; {_rebuild(bundle)}")
    return nearest


def _width(engine: Artifact) -> int:
    """Return in how many ways an engine was built to run elsewhere too, which makes it slower."""
    built = Fingerprint.from_details(engine.details)
    return built.version_compatible + built.hardware_compatible


def _rebuild(bundle: Bundle) -> str:
    return f"build it: vegrt export {bundle.path} --data DATA --engine, or vegrt infer --rebuild"
