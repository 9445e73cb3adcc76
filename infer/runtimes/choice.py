"""Choice of the best candidate on this machine, with the reason: those that passed the gate, ranked by the bundle's benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field

from vegrt.bundle.bundle import Bundle
from vegrt.infer.machine.forecast import forecast
from vegrt.infer.machine.gpu import GpuProbe, has_gpu
from vegrt.infer.runtimes.candidates import ON_GPU, Candidate, candidates, is_installed, nothing_runs
from vegrt.infer.runtimes.objective import DEFAULT, Objective, cost_ms, preference
from vegrt.infer.runtimes.onnxruntime.session import has_provider
from vegrt.infer.runtimes.runner import Device
from vegrt.machine import examine_machine
from vegrt.results.benchmark import Bench
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import load_result

_SPEED_ORDER = {"fast": 0, "fair": 1, "slow": 2}


@dataclass(frozen=True, slots=True)
class Choice:
    """A candidate, the device to run it on, and the reason for choosing it, as text for the user."""

    candidate: Candidate
    reason: str
    device: Device = "cpu"


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The bundle's results for one device.

    passed: keys of the candidates that passed the gate. costs: key to (ms per photo for the objective, size in bytes).
    cpu: model of the processor that ran the benchmark; empty when unknown.
    """

    passed: frozenset[str]
    costs: dict[str, tuple[float, int]] = field(default_factory=dict)
    cpu: str = ""


def choose(
    bundle: Bundle,
    variant: str | None = None,
    runtime: str | None = None,
    device: Device = "cpu",
    *,
    objective: Objective = DEFAULT,
) -> Choice:
    """Return the fastest candidate that passed the gate, by the bundle's result files, among those that match the arguments.

    If no candidate passed the gate, return fp32: no other variant has been shown to keep the accuracy.
    """
    return rank_choices(bundle, variant, runtime, device, objective=objective)[0]


def rank_choices(
    bundle: Bundle,
    variant: str | None = None,
    runtime: str | None = None,
    device: Device | None = None,
    *,
    objective: Objective = DEFAULT,
) -> list[Choice]:
    """Return the choices, best first; the later ones are fallbacks for a choice that cannot be loaded on this machine.

    device: None is the GPU, if CUDA responds and a runtime for it is installed, followed by the CPU. objective: the ranking.
    Raises VegrtError when no candidate matches variant and runtime.
    """
    choices: list[Choice] = []
    for device_tried in _devices(runtime, device):
        choices += _rank_on(bundle, variant, runtime, device_tried, objective)
    if not choices:
        raise nothing_runs(bundle, variant, runtime)
    return choices


def _devices(runtime: str | None, device: Device | None) -> tuple[Device, ...]:
    if runtime in ON_GPU:
        return ("cuda",)
    if device is not None:
        return (device,)
    if runtime not in (None, "onnxruntime") or not has_gpu():
        return ("cpu",)
    return ("cuda", "cpu") if _uses_cuda(runtime) else ("cpu",)


def _uses_cuda(runtime: str | None) -> bool:
    return (runtime is None and is_installed("tensorrt")) or (is_installed("onnxruntime") and has_provider("cuda"))


def _rank_on(
    bundle: Bundle, variant: str | None, runtime: str | None, device: Device, objective: Objective
) -> list[Choice]:
    matching = [
        candidate
        for candidate in candidates(bundle, runtime, device)
        if variant in (None, candidate.variant) and runtime in (None, candidate.runtime)
    ]
    evidence = _read_evidence(bundle, device, objective)
    allowed = [candidate for candidate in matching if variant or str(candidate) in evidence.passed]
    measured = [candidate for candidate in allowed if str(candidate) in evidence.costs]
    unmeasured = [candidate for candidate in allowed if candidate not in measured]
    ranked = sorted(measured, key=lambda candidate: _measured_order(candidate, evidence))
    ranked += sorted(unmeasured, key=_expected_order)
    filtered = bool(variant), bool(runtime)
    choices = [Choice(candidate, _reason(candidate, evidence, objective, *filtered), device) for candidate in ranked]
    unproven = [candidate for candidate in matching if candidate.variant == "fp32"] or matching
    reason = "fp32, which needs no gate" if choices else "no variant passed the gate here yet; see: vegrt evaluate"
    return choices + [Choice(candidate, reason, device) for candidate in unproven if candidate not in allowed]


def _measured_order(candidate: Candidate, evidence: _Evidence) -> tuple[float, int, str]:
    return preference(*evidence.costs[str(candidate)], str(candidate))


def _reason(
    candidate: Candidate, evidence: _Evidence, objective: Objective, variant_named: bool, runtime_named: bool
) -> str:
    if str(candidate) not in evidence.costs:
        return "requested" if variant_named else "passed the gate; not benchmarked here yet, see: vegrt bench"
    words = "fastest" if objective == "latency" else "most images/s"
    if variant_named or runtime_named:
        words += " of those requested"
    else:
        words += " that passed the gate" if objective == "latency" else " of those that passed the gate"
    here = examine_machine().cpu.model
    elsewhere = evidence.cpu not in ("", here)
    return f"{words} on {evidence.cpu}; this is {here}, see: vegrt bench" if elsewhere else words


def _expected_order(candidate: Candidate) -> tuple[int, bool, bool]:
    """Return a sort key for a candidate without a benchmark: by forecast speed, then int8 first, then the best runtime first.

    fp32 is chosen for exactness, so ONNX Runtime comes first: OpenVINO computes fp32 in bf16 on processors that support it.
    """
    forecasts = {variant.variant: variant for variant in forecast(examine_machine().cpu, GpuProbe((), "", ""))}
    expected = forecasts.get(candidate.variant)
    if expected is None:
        return (len(_SPEED_ORDER), True, True)
    best_runtime = "onnxruntime" if candidate.variant == "fp32" else expected.runtime
    return (_SPEED_ORDER[expected.speed], "int8" not in candidate.variant, best_runtime != candidate.runtime)


def _read_evidence(bundle: Bundle, device: Device, objective: Objective) -> _Evidence:
    """Return the evidence for a device; rows of old files, which do not name the device, are of the CPU."""
    evaluation, bench = load_result(bundle, Evaluation, "evaluate-test"), load_result(bundle, Bench, "bench")
    evaluated = [row for row in (evaluation.candidates if evaluation else ()) if row.device == device]
    timed = [row for row in (bench.candidates if bench else ()) if row.device == device]
    passed = frozenset(row.key for row in evaluated if row.gate.verdict in ("PASS", "REFERENCE"))
    costs = {row.key: (cost, row.size_bytes) for row in timed if (cost := cost_ms(row.batches, objective)) is not None}
    return _Evidence(passed, costs, bench.machine.cpu if bench and device == "cpu" else "")
