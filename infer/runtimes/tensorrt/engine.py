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


def open_tensorrt(bundle: Bundle, variant: str) -> TensorRtRunner:
    """Return a runner for the bundle's engine of `variant` that was built by this TensorRT for this GPU.

    Raises EngineError when there is no GPU, when no engine fits it, or when TensorRT refuses the plan; BundleError when the
    plan is damaged.
    """
    here = local_fingerprint()
    trt = require("tensorrt", "tensorrt")
    cuda = Cuda(load_cudart())
    artifact = fitting_engine(bundle, variant, here)
    plan = read_plan(bundle, artifact)
    return load_engine(
        trt,
        cuda,
        plan,
        artifact.path,
        len(bundle.manifest.classes),
        cure=_rebuild(bundle),
        runs_host_code=Fingerprint.from_details(artifact.details).version_compatible,
    )


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


def fitting_engine(bundle: Bundle, variant: str, here: Fingerprint) -> Artifact:
    """Return the bundle's engine of `variant` that opens here.

    Raises BundleError when there is none of that builder, EngineError that says how the nearest one differs.
    """
    engines = [item for item in bundle.manifest.artifacts if (item.role, item.variant) == ("engine", variant)]
    engines = [engine for engine in engines if engine.details.get("builder") == here.builder]
    if not engines:
        raise BundleError(f"{bundle.path}: holds no {variant} {here.builder} engine; {_rebuild(bundle)}")
    pairs = [(mismatches(Fingerprint.from_details(engine.details), here), engine) for engine in engines]
    problems, nearest = min(pairs, key=lambda pair: len(pair[0]))
    if problems:
        raise EngineError(f"{nearest.path}: {'; '.join(problems)}; {_rebuild(bundle)}")
    return nearest


def _rebuild(bundle: Bundle) -> str:
    return f"build it: vegrt export {bundle.path} --data DATA --engine, or vegrt infer --rebuild"
