"""A bundle of dummy files with engines of two GPUs, and result files for it, written from the dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Manifest
from vegrt.infer.machine.gpu import Gpu, GpuProbe
from vegrt.infer.runtimes.candidates import Candidate, candidate_row
from vegrt.infer.runtimes.fingerprint import Fingerprint
from vegrt.infer.runtimes.host import Host
from vegrt.machine import Cpu
from vegrt.photo.contract import Contract
from vegrt.results.benchmark import Bench, BenchCandidate, Timing
from vegrt.results.common import Interval, Verdict
from vegrt.results.convert import fields_of
from vegrt.results.evaluation import CandidateAnswers, CandidateResult, Evaluation, Gate, Paired, Predictions
from vegrt.results.files import save_result
from vegrt.results.header import header_fields, this_machine

L4 = Fingerprint("tensorrt", "10.13.3", "sm89", "NVIDIA L4")
ORIN = Fingerprint("tensorrt", "10.3.0", "sm87", "Orin")
CPU = Cpu(this_machine().cpu, ("avx2", "avx512_vnni"))
RUNTIMES = frozenset({"onnxruntime", "openvino", "tensorrt", "onnxruntime-tensorrt"})
SERVER = Host(CPU, GpuProbe((Gpu("NVIDIA L4", "8.9", 23034),), "550.54", ""), RUNTIMES, True, L4)  # type: ignore[arg-type]
ENGINE = {"L4": "engines/l4/{}.engine", "Orin": "engines/orin/{}.engine"}
SURE = Interval(1.0, 0.9, 1.0)


def inline(evaluation: Evaluation) -> Predictions:
    """Return the predictions of an evaluation that holds them itself."""
    assert isinstance(evaluation.predictions, Predictions)
    return evaluation.predictions


class Results:
    """Writes result files of one bundle. Every file is newer than the one before."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._minute = 0

    def evaluated(self, verdicts: Mapping[Candidate, Verdict], name: str = "evaluate-test", **more: Any) -> Evaluation:
        """Save the evaluation of candidates, behind fp32 on ONNX Runtime as the reference."""
        gates: dict[Candidate, Verdict] = {Candidate("fp32", "onnxruntime"): "REFERENCE", **verdicts}
        rows = tuple(self._judged(candidate, verdict) for candidate, verdict in gates.items())
        answers = {row.key: CandidateAnswers((0, 1), (1.0, 1.0)) for row in rows}
        fields = {
            **header_fields(self.bundle, Evaluation.KIND),
            "created": self._created(),
            "images": 2,
            "classes": ("a", "b"),
            "margin_points": 0.5,
            "confidence": 0.95,
            "candidates": rows,
            "predictions": Predictions(("a/0.jpg", "b/0.jpg"), (0, 1), answers),
        }
        evaluation = Evaluation(**(fields | more))
        save_result(self.bundle, name, evaluation)
        return evaluation

    def timed(
        self,
        ms: Mapping[Candidate, float],
        name: str = "bench",
        *,
        gpu: str = "",
        batches: Sequence[int] = (1,),
        first_answers_s: Mapping[Candidate, float] = MappingProxyType({}),
        **more: Any,
    ) -> Bench:
        """Save a benchmark. ms: of one photo."""
        rows = tuple(
            BenchCandidate(
                **fields_of(candidate_row(self.bundle, candidate)),
                first_answer_s=first_answers_s.get(candidate),
                batches=tuple(
                    Timing(batch=batch, p50_ms=each * batch, images_per_s=1e3 / each, samples_ms=(each * batch,) * 6)
                    for batch in batches
                ),
            )
            for candidate, each in ms.items()
        )
        fields = {
            **header_fields(self.bundle, Bench.KIND, gpu=gpu or None),
            "created": self._created(),
            "candidates": rows,
        }
        fields |= {"scenario": "interleaved", "threads": 2}
        bench = Bench(**(fields | more))
        save_result(self.bundle, name, bench)
        return bench

    def _judged(self, candidate: Candidate, verdict: Verdict) -> CandidateResult:
        return CandidateResult(
            **fields_of(candidate_row(self.bundle, candidate)),
            top1=SURE,
            top3=SURE,
            nll=0.1,
            ece=0.1,
            confusion=((1, 0), (0, 1)),
            paired=Paired(0, 0, 0, 0, 1.0, Interval(0, 0, 0), 1.0),
            gate=Gate(verdict),
        )

    def _created(self) -> str:
        self._minute += 1
        return f"2027-01-01T00:{self._minute:02}:00+00:00"


def make_two_gpus(path: Path) -> Bundle:
    """Return a bundle with fp16 and int8 engines for an L4 and an Orin. No file of it can be loaded."""
    with changing(path) as staging:
        for variant in ("fp32", "fp16", "int8", "int8-cpu"):
            staging.file(f"{variant}.onnx").write_bytes(variant.encode())
            staging.add(f"{variant}.onnx", "model", variant)
        for gpu, built in (("Orin", ORIN), ("L4", L4)):
            for variant in ("fp16", "int8"):
                name = ENGINE[gpu].format(variant)
                staging.file(name).write_bytes(f"{gpu} {variant}".encode())
                staging.add(name, "engine", variant, built.to_dict())
        staging.finish(Manifest("two-gpus", ("a", "b"), Contract(), {"backbone": "resnet18", "head": "gap"}))
    return open_bundle(path)
