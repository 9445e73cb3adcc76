"""The candidates of a bundle on a machine: its variants, each with the runtimes and devices that can run it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import IMPORTED_INT8, Artifact
from vegrt.errors import MissingExtraError, VegrtError
from vegrt.infer.runtimes.host import RUNTIMES, Host, examine_host, is_installed
from vegrt.infer.runtimes.runner import Device, RuntimeName
from vegrt.infer.runtimes.tensorrt.engine import fitting_engine, local_fingerprint
from vegrt.results.common import GPU_RUNTIMES, CandidateRow, candidate_key
from vegrt.results.rows import engine_record, engines_of

ON_CPU: tuple[RuntimeName, ...] = ("onnxruntime", "openvino", "mnn")
_UNKNOWN_TO_ONNX_RUNTIME = frozenset({"bf16"})  # it has no bfloat16 convolution (1.32); OpenVINO has
# The variant that a runtime computes from the float32 model, on CPUs with one of these instruction sets. Elsewhere it would be
# float32 under another name, or slower than float32.
_FROM_FP32: dict[RuntimeName, tuple[str, frozenset[str]]] = {
    "openvino": ("bf16", frozenset({"avx512_bf16", "amx_bf16"})),
    "mnn": ("fp16", frozenset({"asimdhp"})),
}
_FOR_TENSORRT = ("fp32", "fp16", "int8")  # int8-cpu has unsigned activations, which TensorRT refuses
_EXTRAS = {"onnxruntime": "cpu", "onnxruntime-tensorrt": "gpu", "torch": "train"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant of a bundle, the runtime and the device that would run it.

    device: always cuda for the runtimes that need a GPU. engine: path of the TensorRT engine in the bundle; empty for other
    runtimes, and where the engine that fits the machine is meant.
    """

    variant: str
    runtime: RuntimeName
    device: Device = "cpu"
    engine: str = ""

    def __post_init__(self) -> None:
        if self.runtime in GPU_RUNTIMES:
            object.__setattr__(self, "device", "cuda")

    def __str__(self) -> str:
        """Return the key used in result files: `variant/runtime`, with `/cuda` where the runtime could use the CPU too."""
        return candidate_key(self.variant, self.runtime, self.device)


def candidates(
    bundle: Bundle, runtime: str | None = None, device: Device | None = None, *, host: Host | None = None
) -> list[Candidate]:
    """Return the candidates that a machine can choose from, those on the CPU first.

    device: None for the CPU and, if CUDA works and a runtime for it is installed, the GPU. host: the machine; None for this one.
    fp16.onnx is for GPUs: no x86 runtime has float16 kernels, so it is slower than fp32 there; on a CPU it runs on ONNX Runtime
    only, to prove its accuracy. int8-cpu and int8-imported run on CPUs only, the latter on the runtimes that
    ran it when it was added, and on others if named. On a CPU that has the instructions, OpenVINO computes bf16 and MNN
    computes fp16 from the float32 model: candidates without a file of their own. Of TensorRT engines, only those that fit the
    machine are offered, and all variants if the runtime is named, so that opening one reports why it does not fit. ONNX
    Runtime's TensorRT provider is offered only when named: it builds an engine first, for minutes.
    """
    host = host or examine_host(device)
    named = find_runtime(runtime, host.runtimes) if runtime else None
    return [
        candidate
        for tried in devices_to_use(runtime, device, host)
        for name in ([named] if named else _offered(tried, device is not None, host))
        for candidate in _of_runtime(bundle, name, tried, host, is_named=named is not None)
    ]


def devices_to_use(runtime: str | None, device: Device | None, host: Host) -> tuple[Device, ...]:
    """Return the devices of a machine that a runtime can use, the CPU first; only `device` if it is named."""
    if runtime in GPU_RUNTIMES:
        return ("cuda",)
    if device is not None:
        return (device,)
    if not host.gpu.gpus or runtime not in (None, "onnxruntime"):
        return ("cpu",)
    usable = host.cuda_provider or (runtime is None and host.tensorrt is not None)
    return ("cpu", "cuda") if usable else ("cpu",)


def reference_candidate(
    bundle: Bundle, offered: Collection[Candidate], *, host: Host | None = None
) -> Candidate | None:
    """Return the candidate that all others are compared with: fp32 on ONNX Runtime on the CPU, wherever that is installed.

    So verdicts that were measured by several commands have the same reference. Else the first fp32 candidate, or the first one.
    """
    installed = host.runtimes if host else {name for name in ON_CPU if is_installed(name)}
    if "onnxruntime" in installed and "fp32" in bundle.variants():
        return Candidate("fp32", "onnxruntime")
    exact = (candidate for candidate in offered if candidate.variant == "fp32")
    return next(exact, next(iter(offered), None))


def artifact_of(bundle: Bundle, candidate: Candidate) -> Artifact:
    """Return the artifact that a candidate runs: the checkpoint, an engine, or an ONNX or MNN model.

    Raises BundleError when there is none, EngineError when the candidate names no engine and none fits this machine.
    """
    if candidate.runtime == "torch":
        return bundle.artifact("weights")
    if candidate.runtime == "tensorrt":
        for engine in engines_of(bundle, candidate.variant):
            if engine.path == candidate.engine:
                return engine
        return fitting_engine(bundle, candidate.variant, local_fingerprint())
    if candidate.runtime == "mnn":
        return bundle.artifact("mnn", "fp32")
    return bundle.artifact("model", "fp32" if computes_from_fp32(bundle, candidate) else candidate.variant)


def computes_from_fp32(bundle: Bundle, candidate: Candidate) -> bool:
    """Return whether a candidate has no file of its own: its runtime computes the float32 model in fewer bits."""
    variant, _ = _FROM_FP32.get(candidate.runtime, ("", frozenset()))
    return candidate.variant == variant and (candidate.runtime == "mnn" or variant not in bundle.variants())


def candidate_row(bundle: Bundle, candidate: Candidate) -> CandidateRow:
    """Return the fields that every row of a result file begins with: the candidate, and the artifact that it runs."""
    artifact = artifact_of(bundle, candidate)
    return CandidateRow(
        key=str(candidate),
        variant=candidate.variant,
        runtime=candidate.runtime,
        device=candidate.device,
        artifact_sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        engine=engine_record(artifact) if artifact.role == "engine" else None,
    )


def is_float16(bundle: Bundle, variant: str) -> bool:
    """Return whether the parts of a variant that are not 8-bit are float16. Old bundles do not state it: int8 and fp16 are."""
    stated = bundle.artifact("model", variant).details.get("float")
    return stated == "float16" if stated else variant in ("fp16", "int8")


def find_runtime(name: str, installed: Collection[RuntimeName] | None = None) -> RuntimeName:
    """Return the installed runtime of that name. Raises VegrtError for an unknown, MissingExtraError for a missing one.

    installed: None for those on this machine.
    """
    for runtime in RUNTIMES:
        if runtime == name:
            if not (is_installed(runtime) if installed is None else runtime in installed):
                raise MissingExtraError(f"{name}: not installed; pip install 'vegrt[{_EXTRAS.get(name, name)}]'")
            return runtime
    raise VegrtError(f"runtime {name!r}: unknown; expected one of {', '.join(RUNTIMES)}")


def nothing_runs(bundle: Bundle, variant: str | None = None, runtime: str | None = None) -> VegrtError:
    """Return the error for a bundle without candidates: not exported, no such variant, no runtime, or not on that runtime."""
    if not bundle.variants():
        return VegrtError(f"{bundle.path}: holds no ONNX model yet; make it: vegrt export {bundle.path} --data DATA")
    if variant and variant not in bundle.variants():
        bundle.artifact("model", variant)  # raises, with the command that makes it
    if runtime or any(is_installed(name) for name in ON_CPU):
        variants = ", ".join(bundle.variants())
        return VegrtError(
            f"{bundle.path}: {variant or 'nothing'} to run on {runtime or 'this runtime'}; it holds {variants}"
        )
    return MissingExtraError(
        "no runtime is installed here; pip install 'vegrt[cpu]', or one of: gpu, openvino, mnn, tensorrt"
    )


def _offered(device: Device, is_named: bool, host: Host) -> list[RuntimeName]:
    """Return the runtimes to offer on a device. A GPU that is named is tried even if ONNX Runtime was not built for it."""
    if device == "cpu":
        return [name for name in ON_CPU if name in host.runtimes]
    usable = {"onnxruntime": host.cuda_provider or is_named, "tensorrt": True}
    return [name for name in RUNTIMES if usable.get(name) and name in host.runtimes]


def _of_runtime(bundle: Bundle, runtime: RuntimeName, device: Device, host: Host, *, is_named: bool) -> list[Candidate]:
    if runtime == "torch":
        return [Candidate("fp32", "torch", device)]
    if runtime == "tensorrt":
        return _engines(bundle, host, is_named=is_named)
    variants = [
        variant
        for variant in _models(bundle, runtime)
        if _runs(variant, runtime, device)
        and (is_named or _ran_at_export(bundle, variant, runtime))
        and (is_named or (variant, runtime) != ("fp16", "openvino"))
    ]
    computed, instructions = _FROM_FP32.get(runtime, ("", frozenset()))
    if "fp32" in variants and computed not in variants and instructions & set(host.cpu.features):
        variants.append(computed)
    return [Candidate(variant, runtime, device) for variant in variants]


def _models(bundle: Bundle, runtime: RuntimeName) -> list[str]:
    return [artifact.variant for artifact in bundle.manifest.artifacts if artifact.role == _role(runtime)]


def _role(runtime: RuntimeName) -> Literal["mnn", "model"]:
    return "mnn" if runtime == "mnn" else "model"


def _engines(bundle: Bundle, host: Host, *, is_named: bool) -> list[Candidate]:
    engines = [artifact for artifact in bundle.manifest.artifacts if artifact.role == "engine"]
    offered = []
    for variant in dict.fromkeys(engine.variant for engine in engines if engines_of(bundle, engine.variant)):
        engine = _fitting(bundle, variant, host)
        if engine is not None or is_named:
            offered.append(Candidate(variant, "tensorrt", "cuda", engine.path if engine else ""))
    return offered


def _fitting(bundle: Bundle, variant: str, host: Host) -> Artifact | None:
    if host.tensorrt is None:
        return None
    try:
        return fitting_engine(bundle, variant, host.tensorrt)
    except VegrtError:
        return None


def _runs(variant: str, runtime: RuntimeName, device: Device) -> bool:
    if runtime == "onnxruntime-tensorrt":
        return variant in _FOR_TENSORRT
    if runtime == "onnxruntime":
        on_cpu_only = variant == "int8-cpu" or variant.startswith(IMPORTED_INT8)
        return variant not in _UNKNOWN_TO_ONNX_RUNTIME and (device == "cpu" or not on_cpu_only)
    return True


def _ran_at_export(bundle: Bundle, variant: str, runtime: RuntimeName) -> bool:
    """Return whether a runtime ran a model which vegrt did not make when it was added; True for models that vegrt made."""
    runtimes = bundle.artifact(_role(runtime), variant).details.get("runtimes")
    return runtimes is None or runtime in runtimes
