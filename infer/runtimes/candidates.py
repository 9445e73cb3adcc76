"""The candidates of a bundle on this machine: its variants, each with the runtimes that can run it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import Artifact
from vegrt.errors import MissingExtraError, VegrtError
from vegrt.infer.runtimes.runner import Device, RuntimeName
from vegrt.results.common import CandidateRow

RUNTIMES: tuple[RuntimeName, ...] = ("onnxruntime", "openvino", "mnn", "tensorrt", "torch", "onnxruntime-tensorrt")
ON_CPU: tuple[RuntimeName, ...] = ("onnxruntime", "openvino", "mnn")
ON_GPU: tuple[RuntimeName, ...] = ("tensorrt", "onnxruntime-tensorrt")  # only there
_UNKNOWN_TO_ONNX_RUNTIME = frozenset({"bf16"})  # it has no bfloat16 convolution (1.32); OpenVINO has
_FOR_TENSORRT = ("fp32", "fp16", "int8")  # int8-cpu has unsigned activations, which TensorRT refuses
_PACKAGES = {"openvino": "openvino", "mnn": "MNN", "tensorrt": "tensorrt", "torch": "torchvision"}
_EXTRAS = {"onnxruntime": "cpu", "onnxruntime-tensorrt": "gpu", "torch": "train"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant of a bundle and the runtime that would run it."""

    variant: str
    runtime: RuntimeName

    @property
    def device(self) -> Device:
        """Return the device on which evaluate and bench run it."""
        return "cuda" if self.runtime in ON_GPU else "cpu"

    def __str__(self) -> str:
        """Return `variant/runtime`, the key used in result files."""
        return f"{self.variant}/{self.runtime}"


def candidates(bundle: Bundle, runtime: str | None = None, device: Device = "cpu") -> list[Candidate]:
    """Return the candidates for `device` on this machine, the fp32 reference first; only those of `runtime` if it is named.

    fp16 is for GPUs: no x86 runtime has float16 kernels, so it is slower than fp32 here. On a CPU it runs on ONNX Runtime
    only, to prove its accuracy. TensorRT is offered on a GPU or when named; when named, with fp32 on ONNX Runtime as its
    reference. ONNX Runtime's TensorRT provider is offered only when named: it builds an engine first, for minutes.
    """
    if runtime == "torch":
        return [Candidate("fp32", find_runtime("torch"))]
    if runtime in ON_GPU:
        named = find_runtime(runtime)
        reference = [Candidate("fp32", "onnxruntime")] if is_installed("onnxruntime") else []
        return reference + [Candidate(variant, named) for variant in _variants_for(bundle, named)]
    offered: tuple[RuntimeName, ...] = ("onnxruntime", "tensorrt") if device == "cuda" else ON_CPU
    runtimes = [find_runtime(runtime)] if runtime else [name for name in offered if is_installed(name)]
    offers = [Candidate(variant, name) for name in runtimes for variant in _variants_for(bundle, name)]
    return offers if runtime else [offer for offer in offers if (offer.variant, offer.runtime) != ("fp16", "openvino")]


def artifact_of(bundle: Bundle, candidate: Candidate) -> Artifact:
    """Return the artifact that a candidate runs: the checkpoint, an engine, or an ONNX model."""
    if candidate.runtime == "torch":
        return bundle.artifact("weights")
    if candidate.runtime == "tensorrt":
        built = [artifact for artifact in bundle.manifest.artifacts if _is_engine(artifact)]
        engines = [artifact for artifact in built if artifact.variant == candidate.variant]
        return engines[0] if engines else bundle.artifact("engine", candidate.variant)
    if candidate.runtime == "mnn":
        return bundle.artifact("mnn", candidate.variant)
    return bundle.artifact("model", candidate.variant)


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
    )


def is_float16(bundle: Bundle, variant: str) -> bool:
    """Return whether the parts of a variant that are not 8-bit are float16. Old bundles do not state it: int8 and fp16 are."""
    stated = bundle.artifact("model", variant).details.get("float")
    return stated == "float16" if stated else variant in ("fp16", "int8")


def find_runtime(name: str) -> RuntimeName:
    """Return the installed runtime of that name. Raises VegrtError for an unknown, MissingExtraError for a missing one."""
    for runtime in RUNTIMES:
        if runtime == name:
            if not is_installed(runtime):
                raise MissingExtraError(f"{name}: not installed; pip install 'vegrt[{_EXTRAS.get(name, name)}]'")
            return runtime
    raise VegrtError(f"runtime {name!r}: unknown; expected one of {', '.join(RUNTIMES)}")


def is_installed(runtime: RuntimeName) -> bool:
    """Return whether the runtime's package is installed, without importing it."""
    return find_spec(package_of(runtime)) is not None


def package_of(runtime: RuntimeName) -> str:
    """Return the name by which Python imports a runtime's package."""
    return _PACKAGES.get(runtime, "onnxruntime")


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


def _variants_for(bundle: Bundle, runtime: RuntimeName) -> list[str]:
    if runtime == "tensorrt":
        return list(dict.fromkeys(artifact.variant for artifact in bundle.manifest.artifacts if _is_engine(artifact)))
    if runtime == "mnn":
        return [artifact.variant for artifact in bundle.manifest.artifacts if artifact.role == "mnn"]
    variants = bundle.variants()
    if runtime == "onnxruntime-tensorrt":
        return [variant for variant in variants if variant in _FOR_TENSORRT]
    return [variant for variant in variants if runtime != "onnxruntime" or variant not in _UNKNOWN_TO_ONNX_RUNTIME]


def _is_engine(artifact: Artifact) -> bool:
    return artifact.role == "engine" and artifact.details.get("builder") == "tensorrt"
