"""Choice of the best candidate on a machine, with the reason: those that passed the gate, ranked by the bundle's benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.infer.runtimes.candidates import Candidate, candidates, nothing_runs
from vegrt.infer.runtimes.evidence import CandidateEvidence, read_evidence
from vegrt.infer.runtimes.host import Host, examine_host
from vegrt.infer.runtimes.objective import DEFAULT, Objective, Work, preference
from vegrt.infer.runtimes.runner import Device

_NOTHING_PASSED = "no variant passed the gate here yet; see: vegrt evaluate"


@dataclass(frozen=True, slots=True)
class Choice:
    """A candidate, and the reason for choosing it, as text for the user."""

    candidate: Candidate
    reason: str

    @property
    def device(self) -> Device:
        """Return the device to run it on."""
        return self.candidate.device


@dataclass(frozen=True, slots=True)
class _Request:
    variant: str | None
    runtime: str | None
    objective: Objective
    host: Host
    work: Work | None


def choose(
    bundle: Bundle,
    variant: str | None = None,
    runtime: str | None = None,
    device: Device = "cpu",
    *,
    objective: Objective | None = None,
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
    objective: Objective | None = None,
    work: Work | None = None,
    host: Host | None = None,
) -> list[Choice]:
    """Return the choices, best first; the later ones are fallbacks for a choice that cannot be loaded on this machine.

    device: None is the GPU, if CUDA responds and a runtime for it is installed, and the CPU. objective: the ranking; None for
    the shortest time for `work`, loading included, where that is known and was measured, else DEFAULT. host: the machine; None
    for this one. A candidate that failed the gate is no choice unless its variant is named.
    Raises VegrtError when no candidate matches variant and runtime, or when all of them failed.
    """
    request = _Request(
        variant,
        runtime,
        objective or DEFAULT,
        host or examine_host(device),
        work if objective is None else None,
    )
    offered = [
        candidate
        for candidate in candidates(bundle, runtime, device, host=request.host)
        if variant in (None, candidate.variant)
    ]
    if not offered:
        raise nothing_runs(bundle, variant, runtime)
    known = read_evidence(bundle, offered, request.objective, request.host, request.work)
    choices = _choices(known, request)
    if choices:
        return choices
    unproven = [evidence.candidate for evidence in known if evidence.verdict != "FAIL"]
    if not unproven:
        raise VegrtError(
            f"{bundle.path}: {', '.join(map(str, offered))} failed the gate; add --variant to run it all the same"
        )
    return [Choice(candidate, _NOTHING_PASSED) for candidate in unproven]


def _choices(known: Sequence[CandidateEvidence], request: _Request) -> list[Choice]:
    """Return the candidates that passed the gate or need none, best first.

    Those on the GPU come before those on the CPU, unless both were measured on this machine: then their times decide. On each
    device the measured ones come by cost: the time for the known work where that was measured for all of them. One that was not
    measured comes before them if it is expected to be in a faster class than all of them, else behind them. Then comes fp32 that
    was not evaluated.
    """
    allowed = [evidence for evidence in known if request.variant or evidence.passed]
    exact = [
        evidence
        for evidence in known
        if evidence not in allowed and evidence.candidate.variant == "fp32" and evidence.verdict != "FAIL"
    ]
    measured = [evidence for evidence in allowed if evidence.cost_ms is not None]
    together, by_work = _are_comparable(measured, request.host), _have_work_times(measured)

    def order(evidence: CandidateEvidence) -> tuple[int, int, Any]:
        device, key = evidence.candidate.device, str(evidence.candidate)
        behind_gpu = int(device == "cpu")
        if evidence in exact:
            return (behind_gpu, 3, (evidence.expected.order, key))
        if evidence in measured:
            return (0 if together else behind_gpu, 1, _preference(evidence, by_work=by_work))
        fastest = min((other.expected.rank for other in measured if other.candidate.device == device), default=0)
        return (behind_gpu, 0 if evidence.expected.rank < fastest else 2, (evidence.expected.order, key))

    ranked = sorted([*allowed, *exact], key=order)
    return [Choice(evidence.candidate, _reason(evidence, allowed, request, by_work=by_work)) for evidence in ranked]


def _have_work_times(measured: Sequence[CandidateEvidence]) -> bool:
    return bool(measured) and all(evidence.work_time is not None for evidence in measured)


def _preference(evidence: CandidateEvidence, *, by_work: bool) -> tuple[float, int, str]:
    cost = evidence.work_time.total_s if by_work and evidence.work_time else evidence.cost_ms
    return preference(cost, evidence.size_bytes, str(evidence.candidate))


def _are_comparable(measured: Sequence[CandidateEvidence], host: Host) -> bool:
    """Return whether candidates of both devices were measured in one benchmark of this machine."""
    here = [evidence for evidence in measured if evidence.processor == host.processor(evidence.candidate.device)]
    devices, benches = {evidence.candidate.device for evidence in here}, {evidence.bench for evidence in here}
    return devices == {"cpu", "cuda"} and len(benches) == 1


def _reason(
    evidence: CandidateEvidence, allowed: Sequence[CandidateEvidence], request: _Request, *, by_work: bool
) -> str:
    if evidence not in allowed:
        others = [other for other in allowed if other.candidate.device == evidence.candidate.device]
        return "fp32, which needs no gate" if others else _NOTHING_PASSED
    if evidence.cost_ms is None:
        return _unmeasured_reason(evidence, request)
    words = _superlative(request, by_work=by_work)
    if by_work:
        words += f": {evidence.work_time}"
    here = request.host.processor(evidence.candidate.device)
    if evidence.processor not in ("", here):
        words += f" on {evidence.processor}; this is {here}, see: vegrt bench"
    unmeasured = [str(other.candidate) for other in allowed if other.cost_ms is None]
    return f"{words}; not benchmarked: {', '.join(unmeasured)}" if unmeasured else words


def _superlative(request: _Request, *, by_work: bool) -> str:
    fastest = request.objective == "latency" and not by_work
    words = f"shortest time for {request.work}" if by_work else "fastest" if fastest else "most images/s"
    if request.variant or request.runtime:
        return f"{words} of those requested"
    return f"{words} that passed the gate" if fastest else f"{words} of those that passed the gate"


def _unmeasured_reason(evidence: CandidateEvidence, request: _Request) -> str:
    if request.variant:
        return "requested"
    expected = evidence.expected
    words = f", expected to be {expected.speed} ({expected.reason})" if expected.speed else ""
    return f"passed the gate{words}; not benchmarked here yet, see: vegrt bench"
