"""Which runner runs a bundle here: the candidates, and the fastest of them that passed the gate."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from vegrt.bundle import Artifact, Bundle
from vegrt.errors import MissingExtraError, VegrtError
from vegrt.infer.openvino import open_openvino
from vegrt.infer.oracle import TorchRunner
from vegrt.infer.ort import open_onnxruntime
from vegrt.infer.results import load_result
from vegrt.infer.runner import Device, Runner, RuntimeName

RUNTIMES: tuple[RuntimeName, ...] = ("onnxruntime", "openvino", "tensorrt", "torch")
_UNKNOWN_TO_ONNX_RUNTIME = frozenset({"bf16"})  # it has no bfloat16 convolution (1.32); OpenVINO has
_PACKAGES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tensorrt": "tensorrt", "torch": "torchvision"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant of a bundle and the runtime that would run it."""

    variant: str
    runtime: RuntimeName

    @property
    def device(self) -> Device:
        """Return where evaluate and bench run it."""
        return "cuda" if self.runtime == "tensorrt" else "cpu"

    def __str__(self) -> str:
        """Return `variant/runtime`, the key used in result files."""
        return f"{self.variant}/{self.runtime}"


@dataclass(frozen=True, slots=True)
class Choice:
    """What `choose` picked and why, in words for the user."""

    candidate: Candidate
    reason: str


def candidates(bundle: Bundle, runtime: str | None = None, device: Device = "cpu") -> list[Candidate]:
    """Return what can run here on `device`, the fp32 reference first; only of `runtime` when one is named.

    fp16 is for GPUs: no x86 runtime has float16 kernels, so it is slower than fp32 here. On a CPU it runs on ONNX Runtime
    only, to prove its accuracy. TensorRT is offered only when named, with fp32 on ONNX Runtime as its reference.
    """
    if runtime == "torch":
        return [Candidate("fp32", find_runtime("torch"))]
    if runtime == "tensorrt":
        engines = [one.variant for one in bundle.manifest.artifacts if _is_engine(one)]
        reference = [Candidate("fp32", "onnxruntime")] if is_installed("onnxruntime") else []
        return reference + [Candidate(variant, find_runtime("tensorrt")) for variant in engines]
    offered: tuple[RuntimeName, ...] = ("onnxruntime",) if device == "cuda" else ("onnxruntime", "openvino")
    named = [find_runtime(runtime)] if runtime else [name for name in offered if is_installed(name)]
    found = [Candidate(variant, name) for name in named for variant in bundle.variants()]
    found = [one for one in found if one.runtime != "onnxruntime" or one.variant not in _UNKNOWN_TO_ONNX_RUNTIME]
    return found if runtime else [one for one in found if (one.variant, one.runtime) != ("fp16", "openvino")]


def artifact_of(bundle: Bundle, candidate: Candidate) -> Artifact:
    """Return the artifact that a candidate runs: the checkpoint, an engine, or an ONNX model."""
    if candidate.runtime == "torch":
        return bundle.artifact("weights")
    if candidate.runtime == "tensorrt":
        engines = [one for one in bundle.manifest.artifacts if _is_engine(one) and one.variant == candidate.variant]
        return engines[0] if engines else bundle.artifact("engine", candidate.variant)
    return bundle.artifact("model", candidate.variant)


def describe(bundle: Bundle, candidate: Candidate) -> dict[str, Any]:
    """Return what every row of a result file begins with: which candidate, and the artifact that it ran."""
    artifact = artifact_of(bundle, candidate)
    return {
        "key": str(candidate),
        "variant": candidate.variant,
        "runtime": candidate.runtime,
        "device": candidate.device,
        "artifact_sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
    }


def open_candidate(bundle: Bundle, candidate: Candidate, *, device: Device = "cpu", threads: int = 0) -> Runner:
    """Return the candidate loaded. Raises VegrtError when its runtime or artifact is missing."""
    if candidate.runtime == "torch":
        if candidate.variant != "fp32":
            raise VegrtError(f"torch: runs the checkpoint, which is fp32; {candidate.variant} was asked for")
        return TorchRunner(bundle, device=device, threads=threads)
    if candidate.runtime == "tensorrt":
        from vegrt.infer.tensorrt import open_tensorrt

        return open_tensorrt(bundle, candidate.variant)
    file = bundle.file("model", candidate.variant)
    if candidate.runtime == "openvino":
        return open_openvino(file, device=device, threads=threads)
    return open_onnxruntime(file, float16=is_float16(bundle, candidate.variant), device=device, threads=threads)


def is_float16(bundle: Bundle, variant: str) -> bool:
    """Return whether what is not 8-bit in a variant is float16. Bundles made before it was noted have int8 and fp16 so."""
    noted = bundle.artifact("model", variant).details.get("float")
    return noted == "float16" if noted else variant in ("fp16", "int8")


def choose(bundle: Bundle, variant: str | None = None, runtime: str | None = None, device: Device = "cpu") -> Choice:
    """Return the fastest candidate that passed the gate, by the bundle's own result files; what is named stays as named.

    Without a passed gate the choice is fp32, because nobody has shown that anything else keeps the accuracy.
    """
    open_here = [one for one in candidates(bundle, runtime, device) if variant in (None, one.variant)]
    open_here = [one for one in open_here if runtime in (None, one.runtime)]
    if not open_here:
        raise _impossible(bundle, variant, runtime)
    passed = _passed(bundle)
    allowed = [one for one in open_here if variant or str(one) in passed]
    if not allowed:
        allowed = [one for one in open_here if one.variant == "fp32"] or open_here
        return Choice(allowed[0], "no variant passed the gate here yet; see: vegrt evaluate")
    speeds = _speeds(bundle)
    best = max(allowed, key=lambda one: speeds.get(str(one), 0.0))
    if str(best) not in speeds:
        return Choice(best, "asked for" if variant else "passed the gate; not benchmarked here yet, see: vegrt bench")
    return Choice(best, f"fastest {'of those asked for' if variant or runtime else 'that passed the gate'}")


def find_runtime(name: str) -> RuntimeName:
    """Return the runtime of that name, installed. Raises VegrtError for an unknown, MissingExtraError for a missing one."""
    for known in RUNTIMES:
        if known == name:
            if not is_installed(known):
                extra = {"onnxruntime": "cpu", "torch": "train"}.get(name, name)
                raise MissingExtraError(f"{name}: not installed; pip install 'vegrt[{extra}]'")
            return known
    raise VegrtError(f"runtime {name!r}: unknown; expected one of {', '.join(RUNTIMES)}")


def is_installed(runtime: RuntimeName) -> bool:
    """Return whether the runtime's package is there, without importing it."""
    return find_spec(_PACKAGES[runtime]) is not None


def _is_engine(artifact: Artifact) -> bool:
    return artifact.role == "engine" and artifact.details.get("builder") == "tensorrt"


def _impossible(bundle: Bundle, variant: str | None, runtime: str | None) -> VegrtError:
    if not bundle.variants():
        return VegrtError(f"{bundle.path}: holds no ONNX model yet; make it: vegrt export {bundle.path} --data DATA")
    if variant and variant not in bundle.variants():
        bundle.artifact("model", variant)  # raises, with the command that makes it
    if runtime or any(is_installed(name) for name in ("onnxruntime", "openvino")):
        found = ", ".join(bundle.variants())
        return VegrtError(
            f"{bundle.path}: {variant or 'nothing'} to run on {runtime or 'this runtime'}; it holds {found}"
        )
    return MissingExtraError(
        "no runtime is installed here; pip install 'vegrt[cpu]', or one of: gpu, openvino, tensorrt"
    )


def _passed(bundle: Bundle) -> set[str]:
    evaluation = load_result(bundle, "evaluate-test")
    rows: list[dict[str, Any]] = evaluation["candidates"] if evaluation else []
    return {row["key"] for row in rows if row["gate"]["verdict"] in ("PASS", "REFERENCE")}


def _speeds(bundle: Bundle) -> dict[str, float]:
    benchmark = load_result(bundle, "bench")
    rows: list[dict[str, Any]] = benchmark["candidates"] if benchmark else []
    return {row["key"]: max(point["images_per_s"] for point in row["batches"]) for row in rows}
