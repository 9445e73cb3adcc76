"""A bundle's variant, loaded: one candidate that is known, or the best that works here."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.signature import open_again
from vegrt.errors import BundleError, VegrtError
from vegrt.infer.runtimes.candidates import Candidate as Candidate
from vegrt.infer.runtimes.candidates import artifact_of as artifact_of
from vegrt.infer.runtimes.candidates import candidates as candidates
from vegrt.infer.runtimes.candidates import find_runtime as find_runtime
from vegrt.infer.runtimes.candidates import is_float16 as is_float16
from vegrt.infer.runtimes.choice import Choice as Choice
from vegrt.infer.runtimes.choice import choose as choose
from vegrt.infer.runtimes.choice import rank_choices
from vegrt.infer.runtimes.objective import DEFAULT, Objective
from vegrt.infer.runtimes.onnxruntime import TensorRtProvider, open_onnxruntime
from vegrt.infer.runtimes.openvino import needs_float, open_openvino
from vegrt.infer.runtimes.runner import Device, Runner
from vegrt.infer.runtimes.torch import TorchRunner

log = logging.getLogger(__name__)

Opener = Callable[..., Runner]
_TRIES = 20  # of loading a bundle that another process changes


@dataclass(frozen=True, slots=True)
class Opened:
    """A runner that is ready, what it runs, and why that was picked, in words for the user."""

    bundle: Bundle
    runner: Runner
    candidate: Candidate
    reason: str

    def __str__(self) -> str:
        where = "" if self.runner.device == "cpu" else f" with {self.runner.device}"
        return f"{self.bundle.path}: {self.candidate.variant} on {self.runner.runtime}{where} ({self.reason})"


def open_runner(
    bundle: Bundle | Path | str,
    variant: str | None = None,
    runtime: str | None = None,
    device: Device | None = None,
    *,
    threads: int = 0,
    opener: Opener | None = None,
    objective: Objective = DEFAULT,
) -> Opened:
    """Return the fastest runner that passed the gate and loads here, and why; what is named stays as named. Logs the same.

    What cannot be loaded is said in a warning, and the next best that fits the names is taken. device: None is the GPU where
    CUDA answers and a runtime for it is installed, else the CPU. threads: of the runtime on a CPU, 0 for all cores allowed to us.
    objective: what fastest means. opener: what loads a candidate, with the arguments of `open_candidate`, which is the default.
    A bundle that is changed meanwhile is opened again. Raises BundleError for one that cannot be opened, and the first choice's
    VegrtError when nothing can be loaded.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle))
    for _ in range(_TRIES):
        try:
            choices = rank_choices(opened, variant, runtime, device, objective=objective)
            found = _open_first(opened, choices, threads, opener or open_candidate)
        except VegrtError:
            if opened.is_current():
                raise
        else:
            if opened.is_current():
                log.info("%s", found)
                return found
        opened = open_again(opened)  # another process changed it while it was loaded
    raise BundleError(f"{opened.path}: changed each time it was loaded; wait until no other process changes it")


def _open_first(opened: Bundle, choices: Sequence[Choice], threads: int, opener: Opener) -> Opened:
    """Return the first choice that loads here. Raises the VegrtError of the very first when none does."""
    first: VegrtError | None = None
    for choice in choices:
        try:
            runner = opener(opened, choice.candidate, device=choice.device, threads=threads)
        except VegrtError as error:
            log.warning("%s on %s cannot be loaded here, looking further (%s)", choice.candidate, choice.device, error)
            first = first or error
            continue
        reason = choice.reason if first is None else f"the first choice cannot be loaded; {choice.reason}"
        return Opened(opened, runner, choice.candidate, reason)
    assert first is not None, "rank_choices returns at least one choice"
    raise first


def open_candidate(bundle: Bundle, candidate: Candidate, *, device: Device = "cpu", threads: int = 0) -> Runner:
    """Return the candidate loaded. Raises VegrtError when its runtime or artifact is missing."""
    if candidate.runtime == "torch":
        if candidate.variant != "fp32":
            raise VegrtError(f"torch: runs the checkpoint, which is fp32; {candidate.variant} was asked for")
        return TorchRunner(bundle, device=device, threads=threads)
    if candidate.runtime == "tensorrt":
        from vegrt.infer.runtimes.tensorrt import open_tensorrt

        return open_tensorrt(bundle, candidate.variant)
    file, classes = bundle.file("model", candidate.variant), len(bundle.manifest.classes)
    if candidate.runtime == "openvino":
        in_float = needs_float(candidate.variant)
        return open_openvino(file, device=device, threads=threads, in_float=in_float, classes=classes)
    provider = _tensorrt_provider(bundle, candidate) if candidate.runtime == "onnxruntime-tensorrt" else None
    float16 = is_float16(bundle, candidate.variant)
    return open_onnxruntime(file, float16=float16, device=device, threads=threads, tensorrt=provider, classes=classes)


def _tensorrt_provider(bundle: Bundle, candidate: Candidate) -> TensorRtProvider:
    """Return how ONNX Runtime's TensorRT provider builds: its engines are kept in the user's cache, not in the bundle."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = home / "vegrt/tensorrt-provider" / artifact_of(bundle, candidate).sha256[:16]
    return TensorRtProvider(bundle.manifest.contract.size, candidate.variant == "int8", cache)
