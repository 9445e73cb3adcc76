"""Load a candidate of a bundle: a given one, or the best that works on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.signature import open_again
from vegrt.errors import BundleError, ModelError, VegrtError
from vegrt.files.user_cache import cache_home
from vegrt.infer.runtimes.candidates import Candidate, artifact_of, is_float16
from vegrt.infer.runtimes.choice import Choice, rank_choices
from vegrt.infer.runtimes.mnn import kept_tensors, open_mnn
from vegrt.infer.runtimes.objective import Objective, Work
from vegrt.infer.runtimes.onnx_file import InnerTensors, inner_tensors, with_outputs
from vegrt.infer.runtimes.onnxruntime.plugin import PluginModel, parse_provider
from vegrt.infer.runtimes.onnxruntime.providers import TensorRtProvider
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime, open_plugin
from vegrt.infer.runtimes.onnxruntime.session import is_faster_in_float
from vegrt.infer.runtimes.openvino.runner import needs_float, open_openvino
from vegrt.infer.runtimes.runner import BundleRunner, Device
from vegrt.infer.runtimes.torch import TorchRunner

log = logging.getLogger(__name__)

Begun: TypeAlias = tuple[str, str]  # variant and runtime of an earlier run
EmbeddingsFor: TypeAlias = Callable[[Bundle, Candidate], bool]  # whether a candidate must give embeddings

_TRIES = 20  # of loading a bundle that another process changes
_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}  # of OpenVINO; the float layers of the others as it likes
_WITH_EMBEDDINGS = ("mnn", "onnxruntime", "openvino")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A runner that is ready, the candidate that it runs, and the reason why that was chosen, in words for the user.

    embedding_width: numbers per embedding; 0 without embeddings.
    """

    bundle: Bundle
    runner: BundleRunner
    candidate: Candidate
    reason: str
    embedding_width: int = 0

    def __str__(self) -> str:
        where = "" if self.runner.device == "cpu" else f" with {self.runner.device}"
        return f"{self.bundle.path}: {self.candidate.variant} on {self.candidate.runtime_name}{where} ({self.reason})"


def open_runner(
    bundle: Bundle | Path | str,
    variant: str | None = None,
    runtime: str | None = None,
    device: Device | None = None,
    *,
    threads: int = 0,
    embeddings: bool | EmbeddingsFor = False,
    objective: Objective | None = None,
    work: Work | None = None,
    begun: Begun | None = None,
) -> LoadedModel:
    """Return the fastest candidate that passed the gate and loads here; variant, runtime and device are kept where named.

    Logs the choice. A candidate that cannot be loaded costs a warning, and the next best is tried. device: None for the GPU if
    CUDA works and a runtime for it is installed, else the CPU. threads: of the runtime on a CPU; 0 for all cores that this
    process may use. embeddings: whether the runner must give embeddings, for all candidates or for each. objective, work: what
    fastest means, as for `rank_choices`. begun: what runs if it is among the choices, because an earlier run began with it.
    A bundle that another process changes meanwhile is opened again. Raises BundleError for a bundle that cannot be opened, and
    the first choice's VegrtError when nothing can be loaded.
    """
    current = bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle))
    for _ in range(_TRIES):
        try:
            choices = rank_choices(current, variant, runtime, device, objective=objective, work=work)
            choices = _begun_first(choices, begun) if begun else choices
            loaded = _open_first(current, choices, threads, embeddings)
        except VegrtError:
            if current.is_current():
                raise
        else:
            if current.is_current():
                log.info("%s", loaded)
                return loaded
        current = open_again(current)  # another process changed it while it was loaded
    raise BundleError(f"{current.path}: changed each time it was loaded; wait until no other process changes it")


def _begun_first(choices: Sequence[Choice], begun: Begun) -> list[Choice]:
    """Return the choices with those first that a resumed run began with: one file holds the answers of one model."""
    same = [choice for choice in choices if (choice.candidate.variant, choice.candidate.runtime_name) == begun]
    return [
        *(replace(choice, reason="as in the run that is resumed") for choice in same),
        *(choice for choice in choices if choice not in same),
    ]


def _open_first(
    bundle: Bundle, choices: Sequence[Choice], threads: int, embeddings: bool | EmbeddingsFor
) -> LoadedModel:
    """Return the first choice that loads here. Raises the VegrtError of the very first when none does."""
    first: VegrtError | None = None
    for choice in choices:
        needed = embeddings(bundle, choice.candidate) if callable(embeddings) else embeddings
        try:
            runner = open_candidate(bundle, choice.candidate, device=choice.device, threads=threads, embeddings=needed)
            width = _embedding_width(runner, bundle.manifest.contract.shape) if needed else 0
        except VegrtError as error:
            log.warning(
                "%s on %s cannot be loaded here; the next best is tried (%s)", choice.candidate, choice.device, error
            )
            first = first or error
            continue
        reason = choice.reason if first is None else f"the first choice cannot be loaded; {choice.reason}"
        return LoadedModel(bundle, runner, choice.candidate, reason, width)
    assert first is not None, "rank_choices returns at least one choice"
    raise first


def _embedding_width(runner: BundleRunner, shape: tuple[int, int, int]) -> int:
    embeddings = runner.answers(np.zeros((1, *shape), np.uint8)).embeddings
    return 0 if embeddings is None else embeddings.shape[1]


def open_candidate(
    bundle: Bundle,
    candidate: Candidate,
    *,
    device: Device | None = None,
    threads: int = 0,
    embeddings: bool = False,
    throughput: bool = False,
) -> BundleRunner:
    """Return the candidate loaded, for embeddings too if asked. device: None for the candidate's own.

    throughput: with OpenVINO and without embeddings, a runner of several batches at once, each on some of the threads.
    Raises VegrtError when its runtime or artifact is missing, or cannot give embeddings.
    """
    device = device or candidate.device
    if embeddings and candidate.runtime not in _WITH_EMBEDDINGS:
        raise VegrtError(
            f"embeddings: {candidate.runtime} does not give them; add --runtime onnxruntime or another one"
        )
    if candidate.runtime == "torch":
        if candidate.variant != "fp32":
            raise VegrtError(f"torch: runs the checkpoint, which is fp32; not {candidate.variant}; leave --variant out")
        return TorchRunner(bundle, device=device, threads=threads)
    if candidate.runtime == "tensorrt":
        from vegrt.infer.runtimes.tensorrt.engine import open_tensorrt

        return open_tensorrt(bundle, candidate.variant, candidate.engine)
    classes = len(bundle.manifest.classes)
    artifact = artifact_of(bundle, candidate)
    file = bundle.file(artifact.role, artifact.variant)
    content = file.read_bytes() if embeddings else b""
    inner = _inner_tensors(bundle, candidate, file, content) if embeddings else None
    if candidate.runtime == "mnn":
        half = candidate.variant == "fp16"
        return open_mnn(file, device=device, threads=threads, half=half, classes=classes, inner=inner)
    if candidate.runtime == "openvino":
        return open_openvino(
            file,
            device=device,
            threads=threads,
            in_float=needs_float(candidate.variant),
            precision=_PRECISIONS.get(candidate.variant, ""),
            classes=classes,
            inner=inner,
            throughput=throughput,
            sha256=artifact.sha256,
        )
    model = with_outputs(content, inner) if inner else file
    float16 = is_float16(bundle, candidate.variant)
    if candidate.provider:
        return open_plugin(
            PluginModel(model, str(file), artifact.sha256, exact=candidate.variant == "fp32"),
            parse_provider(candidate.provider),
            float16=float16,
            threads=threads,
            classes=classes,
            inner=inner,
        )
    provider = _tensorrt_provider(bundle, candidate) if candidate.runtime == "onnxruntime-tensorrt" else None
    return open_onnxruntime(
        model,
        float16=float16,
        in_float=is_faster_in_float(candidate.variant),
        device=device,
        threads=threads,
        tensorrt=provider,
        classes=classes,
        subject=str(file),
        inner=inner,
    )


def gives_embeddings(bundle: Bundle, candidate: Candidate) -> bool:
    """Return whether a candidate can be opened for embeddings: its runtime gives them, and its model has a linear head."""
    if candidate.runtime not in _WITH_EMBEDDINGS:
        return False
    artifact = artifact_of(bundle, candidate)
    try:
        file = bundle.file(artifact.role, artifact.variant)
        _inner_tensors(bundle, candidate, file, file.read_bytes())
    except ModelError:
        return False
    return True


def _inner_tensors(bundle: Bundle, candidate: Candidate, file: Path, content: bytes) -> InnerTensors:
    """Return the inner tensors of a candidate's model. content: of its file; MNN's was made of fp32.onnx, which names them."""
    if candidate.runtime == "mnn":
        if "fp32" not in bundle.variants():
            raise ModelError(f"{bundle.path}: has no fp32.onnx, which names the tensors of {file.name}; no embeddings")
        source = bundle.file("model", "fp32")
        kept = kept_tensors(content, _inner_tensors_of(source, source.read_bytes()))
        if kept is None:
            raise ModelError(f"{file}: the conversion left no tensor that the classifier reads; no embeddings")
        return kept
    return _inner_tensors_of(file, content)


def _inner_tensors_of(file: Path, content: bytes) -> InnerTensors:
    """Return the inner tensors of an ONNX model. content: of the file, which messages name."""
    try:
        return inner_tensors(content)
    except ModelError as error:
        raise ModelError(f"{file}: {str(error).removeprefix('model: ')}") from error


def _tensorrt_provider(bundle: Bundle, candidate: Candidate) -> TensorRtProvider:
    """Return how ONNX Runtime's TensorRT provider builds: its engines are kept in the user's cache, not in the bundle."""
    cache = cache_home() / "tensorrt-provider" / artifact_of(bundle, candidate).sha256[:16]
    return TensorRtProvider(bundle.manifest.contract.shape, candidate.variant == "int8", cache)
