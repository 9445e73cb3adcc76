"""What a bundle's results and the forecast say about each candidate on a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vegrt.bundle.bundle import Bundle
from vegrt.infer.machine.forecast import Speed, forecast
from vegrt.infer.machine.gpu import GpuProbe
from vegrt.infer.machine.measured import NetworkKind, kind_of
from vegrt.infer.runtimes.candidates import Candidate, candidate_row
from vegrt.infer.runtimes.host import Host
from vegrt.infer.runtimes.objective import Objective, Work, WorkTime, cost_ms, work_time
from vegrt.infer.runtimes.runner import Device
from vegrt.results.benches import MergedBench
from vegrt.results.bundle_results import log_ignored, read_results
from vegrt.results.common import Verdict
from vegrt.results.rows import RowId, row_id

_SPEEDS: tuple[Speed, ...] = ("fast", "fair", "slow")


@dataclass(frozen=True, slots=True)
class Expected:
    """The forecast for a candidate. order: sort key among candidates of one device, the fastest first."""

    speed: Speed | None
    reason: str
    order: tuple[int, bool, int]

    @property
    def rank(self) -> int:
        """Return 0 for the fastest class; unknown is last."""
        return self.order[0]


@dataclass(frozen=True, slots=True)
class CandidateEvidence:
    """What is known about a candidate. verdict: of the gate; None: not evaluated.

    cost_ms: milliseconds per photo for the objective; None: not measured. work_time: for a known number of photos; None: not
    asked for or not measured. processor: what measured them; empty if unknown. bench: the number of the benchmark among the
    bundle's machines.
    """

    candidate: Candidate
    expected: Expected
    verdict: Verdict | None = None
    cost_ms: float | None = None
    work_time: WorkTime | None = None
    size_bytes: int = 0
    processor: str = ""
    bench: int = -1

    @property
    def passed(self) -> bool:
        """Return whether the gate lets the candidate be chosen."""
        return self.verdict in ("PASS", "REFERENCE")


@dataclass(frozen=True, slots=True)
class _Cost:
    ms: float
    work_time: WorkTime | None


def read_evidence(
    bundle: Bundle, offered: Sequence[Candidate], objective: Objective, host: Host, work: Work | None = None
) -> list[CandidateEvidence]:
    """Return what is known about each candidate, in the same order. work: the photos to answer, where their number is known."""
    results = read_results(bundle)
    log_ignored(bundle, results.ignored)
    rows = results.evaluation.evaluation.candidates if results.evaluation else ()
    verdicts = {row_id(row): row.gate.verdict for row in rows}
    costs = {device: _costs(results.benches, device, objective, host, work) for device in ("cpu", "cuda")}
    kind, known = kind_of(bundle.manifest.model.get("backbone")), []
    for candidate in offered:
        expected = _expected(candidate, host, kind)
        if candidate.runtime == "tensorrt" and not candidate.engine:  # no engine fits: opening it reports that
            known.append(CandidateEvidence(candidate, expected))
            continue
        row = candidate_row(bundle, candidate)
        number, processor, by_id = costs[candidate.device]
        verdict, cost = verdicts.get(row_id(row)), by_id.get(row_id(row))
        known.append(
            CandidateEvidence(
                candidate,
                expected,
                verdict,
                cost_ms=cost.ms if cost else None,
                work_time=cost.work_time if cost else None,
                size_bytes=row.size_bytes,
                processor=processor,
                bench=number,
            )
        )
    return known


def _costs(
    benches: Sequence[MergedBench], device: Device, objective: Objective, host: Host, work: Work | None
) -> tuple[int, str, dict[RowId, _Cost]]:
    """Return the number of the benchmark to use for a device, what ran it, and the costs by candidate.

    That is the benchmark of this machine, or else the first: times of two machines are not compared.
    """
    numbers = [
        number for number, merged in enumerate(benches) if any(row.device == device for row in merged.bench.candidates)
    ]
    if not numbers:
        return -1, "", {}
    here = [number for number in numbers if benches[number].processor(device) == host.processor(device)]
    merged = benches[number := (here or numbers)[0]]
    rows = [row for row in merged.bench.candidates if row.device == device]
    costs = {
        row_id(row): _Cost(ms, work_time(row, work) if work else None)
        for row in rows
        if (ms := cost_ms(row.batches, objective)) is not None
    }
    return number, merged.processor(device), costs


def _expected(candidate: Candidate, host: Host, kind: NetworkKind | None) -> Expected:
    """Return the forecast for a candidate. Among equals int8 comes first, then the runtime that suits the variant best.

    On a GPU TensorRT comes first.
    """
    on_gpu = candidate.device == "cuda"
    gpu = host.gpu if on_gpu else GpuProbe((), "", "")
    verdicts = {verdict.variant: verdict for verdict in forecast(host.cpu, gpu, measured=host.measured, kind=kind)}
    verdict = verdicts.get(candidate.variant)
    if verdict is None or candidate.provider or (on_gpu and not host.gpu.gpus):
        return Expected(None, "", (len(_SPEEDS), "int8" not in candidate.variant, candidate.runtime != "tensorrt"))
    if on_gpu and candidate.runtime == "onnxruntime":
        return _with_cuda_provider(candidate)
    order = (_SPEEDS.index(verdict.speed), "int8" not in candidate.variant, verdict.place(candidate.runtime))
    return Expected(verdict.speed, verdict.reason, order)


def _with_cuda_provider(candidate: Candidate) -> Expected:
    """Return the forecast for ONNX Runtime on a GPU: it has no 8-bit convolutions there."""
    slow = candidate.variant.startswith("int8")
    reason = "no 8-bit convolutions in the CUDA provider" if slow else "cuDNN, without TensorRT's fusions"
    return Expected("slow" if slow else "fair", reason, (2 if slow else 1, candidate.variant != "fp16", True))
