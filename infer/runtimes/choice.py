"""Which candidate is the best here, and why: those that passed the gate, by the bundle's own measurements."""

from __future__ import annotations

from dataclasses import dataclass, field

from vegrt.bundle.bundle import Bundle
from vegrt.infer.machine.forecast import forecast
from vegrt.infer.machine.gpu import GpuProbe, has_gpu
from vegrt.infer.runtimes.candidates import ON_GPU, Candidate, candidates, is_installed, nothing_runs
from vegrt.infer.runtimes.objective import DEFAULT, Objective, cost_ms, preference
from vegrt.infer.runtimes.onnxruntime import has_provider
from vegrt.infer.runtimes.runner import Device
from vegrt.machine import examine_machine
from vegrt.results.benchmark import Bench
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import load_result

_SPEED_ORDER = {"fast": 0, "fair": 1, "slow": 2}


@dataclass(frozen=True, slots=True)
class Choice:
    """What was picked, where it would run, and why, in words for the user."""

    candidate: Candidate
    reason: str
    device: Device = "cpu"


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What the bundle's results say of a device.

    passed: keys. costs: (ms per photo by the objective, bytes) by key. cpu: where that was measured.
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
    """Return the fastest candidate that passed the gate, by the bundle's own result files; what is named stays as named.

    Without a passed gate the choice is fp32, because nobody has shown that anything else keeps the accuracy.
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
    """Return what may run, best first; what follows the first is for the case that it cannot be loaded here.

    device: None is the GPU, if CUDA answers and a runtime for it is installed, and then the CPU. objective: what is best.
    Raises VegrtError when nothing can run what was named.
    """
    devices = _devices(runtime, device)
    found = [choice for one in devices for choice in _rank_on(bundle, variant, runtime, one, objective)]
    if not found:
        raise nothing_runs(bundle, variant, runtime)
    return found


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
    here = [one for one in candidates(bundle, runtime, device) if variant in (None, one.variant)]
    here = [one for one in here if runtime in (None, one.runtime)]
    evidence = _read_evidence(bundle, device, objective)
    allowed = [one for one in here if variant or str(one) in evidence.passed]
    measured = sorted((one for one in allowed if str(one) in evidence.costs), key=lambda one: _measured(one, evidence))
    allowed = measured + sorted((one for one in allowed if one not in measured), key=_expected)
    named = bool(variant), bool(runtime)
    found = [Choice(one, _reason(one, evidence, objective, *named), device) for one in allowed]
    unproven = [one for one in here if one.variant == "fp32"] or here
    reason = "no variant passed the gate here yet; see: vegrt evaluate" if not found else "fp32, which needs no gate"
    return found + [Choice(one, reason, device) for one in unproven if one not in allowed]


def _measured(candidate: Candidate, evidence: _Evidence) -> tuple[float, int, str]:
    return preference(*evidence.costs[str(candidate)], str(candidate))


def _reason(
    candidate: Candidate, evidence: _Evidence, objective: Objective, variant_named: bool, runtime_named: bool
) -> str:
    if str(candidate) not in evidence.costs:
        return "asked for" if variant_named else "passed the gate; not benchmarked here yet, see: vegrt bench"
    words = "fastest" if objective == "latency" else "most images/s"
    if variant_named or runtime_named:
        words += " of those asked for"
    else:
        words += " that passed the gate" if objective == "latency" else " of those that passed the gate"
    here = examine_machine().cpu.model
    elsewhere = evidence.cpu not in ("", here)
    return f"{words} on {evidence.cpu}; this is {here}, see: vegrt bench" if elsewhere else words


def _expected(candidate: Candidate) -> tuple[int, bool, bool]:
    """Return a sort key for what was not measured: the forecast's order, 8-bit first, on the runtime that suits it.

    fp32 is wanted for its exactness: ONNX Runtime first, as OpenVINO computes it in bf16 where the processor can.
    """
    verdicts = {one.variant: one for one in forecast(examine_machine().cpu, GpuProbe((), "", ""))}
    known = verdicts.get(candidate.variant)
    if known is None:
        return (len(_SPEED_ORDER), True, True)
    suits = "onnxruntime" if candidate.variant == "fp32" else known.runtime
    return (_SPEED_ORDER[known.speed], "int8" not in candidate.variant, suits != candidate.runtime)


def _read_evidence(bundle: Bundle, device: Device, objective: Objective) -> _Evidence:
    """Return what was found on that device; rows from before the device was noted are of the CPU."""
    evaluation, bench = load_result(bundle, Evaluation, "evaluate-test"), load_result(bundle, Bench, "bench")
    judged = [row for row in (evaluation.candidates if evaluation else ()) if row.device == device]
    timed = [row for row in (bench.candidates if bench else ()) if row.device == device]
    passed = frozenset(row.key for row in judged if row.gate.verdict in ("PASS", "REFERENCE"))
    costs = {row.key: (cost, row.size_bytes) for row in timed if (cost := cost_ms(row.batches, objective)) is not None}
    return _Evidence(passed, costs, bench.machine.cpu if bench and device == "cpu" else "")
