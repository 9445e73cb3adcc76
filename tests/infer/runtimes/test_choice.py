"""The order of the choices on a machine with a GPU, by result files that are written by hand.

The machine is described by its facts: ranking is a function of them and of the files. Nothing is run here.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.result_files import ENGINE, L4, ORIN, SERVER, Results
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.errors import VegrtError
from vegrt.infer.machine.gpu import Gpu, GpuProbe
from vegrt.infer.runtimes.candidates import Candidate, artifact_of, candidates
from vegrt.infer.runtimes.choice import Choice, rank_choices
from vegrt.infer.runtimes.objective import Work
from vegrt.infer.runtimes.tensorrt.engine import fitting_engine
from vegrt.machine import Cpu

JETSON = replace(SERVER, gpu=GpuProbe((Gpu("Orin", "8.7", 0),), "540.3", ""), tensorrt=ORIN)

REFERENCE, OPENVINO = Candidate("fp32", "onnxruntime"), Candidate("int8-cpu", "openvino")
FP32_CUDA = Candidate("fp32", "onnxruntime", "cuda")
INT8, FP16 = (Candidate(variant, "tensorrt", "cuda", ENGINE["L4"].format(variant)) for variant in ("int8", "fp16"))
INT8_CPU, EXACT = Candidate("int8-cpu", "onnxruntime"), Candidate("fp16", "onnxruntime")
INT8_ORIN = Candidate("int8", "tensorrt", "cuda", ENGINE["Orin"].format("int8"))


def order(choices: list[Choice]) -> list[Candidate]:
    return [choice.candidate for choice in choices]


def test_the_fastest_engine_that_passed_comes_first(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({FP32_CUDA: "PASS", FP16: "PASS", INT8: "PASS", OPENVINO: "PASS"})
    results.timed({REFERENCE: 20.0, FP32_CUDA: 2.0, FP16: 0.9, INT8: 0.6, OPENVINO: 3.0}, gpu="NVIDIA L4")
    choices = rank_choices(two_gpus, device="cuda", host=SERVER)
    assert order(choices) == [INT8, FP16, FP32_CUDA]
    assert [choice.reason for choice in choices] == ["fastest that passed the gate"] * 3
    assert {choice.device for choice in choices} == {"cuda"}
    everywhere = rank_choices(two_gpus, host=SERVER)
    assert order(everywhere)[:5] == [INT8, FP16, FP32_CUDA, OPENVINO, REFERENCE]


def test_the_cpu_is_ranked_by_its_own_rows(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({FP32_CUDA: "PASS", INT8: "PASS", OPENVINO: "PASS"})
    results.timed({REFERENCE: 20.0, FP32_CUDA: 2.0, INT8: 0.6, OPENVINO: 3.0}, gpu="NVIDIA L4")
    choices = rank_choices(two_gpus, device="cpu", host=SERVER)
    assert order(choices)[:2] == [OPENVINO, REFERENCE]
    assert {choice.device for choice in choices} == {"cpu"}


def test_an_engine_that_failed_is_no_choice_unless_its_variant_is_named(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({FP32_CUDA: "PASS", FP16: "PASS", INT8: "FAIL"})
    results.timed({FP32_CUDA: 2.0, FP16: 0.9, INT8: 0.6}, gpu="NVIDIA L4")
    assert order(rank_choices(two_gpus, device="cuda", host=SERVER)) == [FP16, FP32_CUDA]
    assert INT8 not in order(rank_choices(two_gpus, host=SERVER))
    assert order(rank_choices(two_gpus, "int8", "tensorrt", host=SERVER)) == [INT8]
    results.evaluated({FP16: "FAIL", INT8: "FAIL"})
    with pytest.raises(VegrtError, match=r"fp16/tensorrt, int8/tensorrt failed the gate; add --variant"):
        rank_choices(two_gpus, runtime="tensorrt", host=SERVER)


def test_an_undecided_engine_is_not_chosen(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({INT8: "INCONCLUSIVE", FP16: "INCONCLUSIVE"})
    results.timed({INT8: 0.6, FP16: 0.9, REFERENCE: 20.0}, gpu="NVIDIA L4")
    first, *others = rank_choices(two_gpus, host=SERVER)
    assert (first.candidate, first.reason) == (FP32_CUDA, "no variant passed the gate here yet; see: vegrt evaluate")
    assert not {INT8, FP16} & {*order(others)}
    assert REFERENCE in order(others)
    assert order(rank_choices(two_gpus, runtime="tensorrt", host=SERVER)) == [FP16, INT8]  # nothing else is left


def test_results_of_an_engine_that_was_replaced_are_ignored(
    two_gpus: Bundle, results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    results.evaluated({FP16: "PASS", INT8: "PASS"})
    results.timed({FP16: 0.9, INT8: 0.6}, gpu="NVIDIA L4")
    with changing(two_gpus.path) as staging:
        staging.file(INT8.engine).write_bytes(b"another plan")
        staging.add(INT8.engine, "engine", "int8", L4.to_dict())
        staging.finish(two_gpus.manifest)
    rebuilt = open_bundle(two_gpus.path)
    choices = rank_choices(rebuilt, device="cuda", host=SERVER)
    assert order(choices)[0] == FP16
    assert INT8 not in order(choices)
    for name in ("evaluate-test", "bench"):
        assert f"{name}.json: int8/tensorrt: measured on files that the bundle no longer holds" in caplog.text


def test_results_of_another_gpus_engine_are_ignored(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({FP16: "PASS", INT8_ORIN: "PASS"})
    results.timed({FP16: 0.9, INT8_ORIN: 0.1}, gpu="Orin")
    choices = rank_choices(two_gpus, device="cuda", host=SERVER)
    assert order(choices)[0] == FP16
    assert INT8 not in order(choices)
    assert choices[0].reason == "fastest that passed the gate on Orin; this is NVIDIA L4, see: vegrt bench"
    there = rank_choices(two_gpus, device="cuda", host=JETSON)
    assert order(there)[0] == INT8_ORIN
    assert FP16 not in order(there)
    assert there[0].reason == "fastest that passed the gate"


def test_the_newest_result_of_a_candidate_counts_whichever_file_holds_it(two_gpus: Bundle, results: Results) -> None:
    partial = "evaluate-test-only-int8-tensorrt"
    results.evaluated({INT8: "FAIL"}, partial)
    results.evaluated({FP16: "PASS", INT8: "PASS"})
    results.timed({FP16: 0.5}, "bench-only-fp16-tensorrt", gpu="NVIDIA L4")
    results.timed({FP16: 0.9, INT8: 0.6}, gpu="NVIDIA L4")
    assert order(rank_choices(two_gpus, device="cuda", host=SERVER))[:2] == [INT8, FP16]  # both partial files are older
    results.timed({FP16: 0.5}, "bench-only-fp16-tensorrt", gpu="NVIDIA L4")
    assert order(rank_choices(two_gpus, device="cuda", host=SERVER))[:2] == [FP16, INT8]
    results.evaluated({INT8: "FAIL"}, partial)
    choices = rank_choices(two_gpus, device="cuda", host=SERVER)
    assert order(choices)[0] == FP16
    assert INT8 not in order(choices)


def test_results_of_some_candidates_suffice(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({INT8: "PASS"}, "evaluate-test-only-tensorrt")
    results.timed({INT8: 0.6}, "bench-only-cuda", gpu="NVIDIA L4")
    first = rank_choices(two_gpus, host=SERVER)[0]
    assert (first.candidate, first.reason) == (
        INT8,
        "fastest that passed the gate; not benchmarked: fp32/onnxruntime",
    )


def test_without_a_benchmark_the_forecast_for_the_gpu_decides(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({FP32_CUDA: "PASS", FP16: "PASS", INT8: "PASS", OPENVINO: "PASS"})
    choices = rank_choices(two_gpus, host=SERVER)
    assert order(choices) == [INT8, FP16, FP32_CUDA, OPENVINO, *order(choices)[4:]]
    assert choices[0].reason == (
        "passed the gate, expected to be fast (an engine on NVIDIA L4: int8 convolutions; beats fp16 at larger batches); "
        "not benchmarked here yet, see: vegrt bench"
    )
    results.timed({REFERENCE: 20.0, FP32_CUDA: 2.0}, gpu="NVIDIA L4")
    assert order(rank_choices(two_gpus, host=SERVER))[:3] == [INT8, FP16, FP32_CUDA]  # a measured slow one stays behind
    results.timed({REFERENCE: 20.0, FP32_CUDA: 2.0, FP16: 0.9}, gpu="NVIDIA L4")
    first, second, *_ = rank_choices(two_gpus, host=SERVER)
    assert order([first, second]) == [FP16, FP32_CUDA]  # int8 is expected to be in no faster class than fp16
    assert first.reason == "fastest that passed the gate; not benchmarked: int8-cpu/openvino, int8/tensorrt"


def test_times_of_both_devices_are_compared_only_where_both_were_measured_here(
    two_gpus: Bundle, results: Results
) -> None:
    results.evaluated({FP32_CUDA: "PASS", OPENVINO: "PASS"})
    slow_gpu = {FP32_CUDA: 5.0, OPENVINO: 3.0, REFERENCE: 20.0}
    results.timed(slow_gpu, gpu="NVIDIA L4")
    assert order(rank_choices(two_gpus, host=SERVER)) == [OPENVINO, FP32_CUDA, REFERENCE, *order_behind(two_gpus)]
    results.timed(slow_gpu, gpu="NVIDIA T4")
    assert order(rank_choices(two_gpus, host=SERVER))[0] == FP32_CUDA  # what a T4 took says little about this GPU


def test_times_of_this_machine_come_before_those_of_the_main_file(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({FP32_CUDA: "PASS", FP16: "PASS", INT8: "PASS", OPENVINO: "PASS"})
    results.timed({FP16: 0.5, INT8: 0.6, OPENVINO: 0.1}, gpu="NVIDIA T4")
    assert order(rank_choices(two_gpus, device="cuda", host=SERVER))[:2] == [FP16, INT8]
    results.timed({FP16: 0.5, INT8: 0.4}, "bench-only-tensorrt", gpu="NVIDIA L4")
    choices = rank_choices(two_gpus, host=SERVER)
    assert order(choices)[:2] == [INT8, FP16]
    assert choices[0].reason.startswith("fastest that passed the gate; not benchmarked: ")
    assert OPENVINO not in order(choices)[:3]  # its time is of the machine with the T4, whose CPU is of the same model


def test_fp32_that_failed_is_no_fallback(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({FP32_CUDA: "FAIL", FP16: "INCONCLUSIVE"})
    choices = rank_choices(two_gpus, host=SERVER)
    assert choices[0].candidate == REFERENCE
    assert FP32_CUDA not in order(choices)


def order_behind(bundle: Bundle) -> list[Candidate]:
    """Return what comes behind the candidates that were evaluated: fp32 that was not."""
    return [
        candidate for candidate in candidates(bundle, device="cpu", host=SERVER) if str(candidate) == "fp32/openvino"
    ]


def test_the_objective_holds_on_a_gpu_too(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({FP16: "PASS", INT8: "PASS"})
    results.timed({FP16: 0.5, INT8: 0.6}, gpu="NVIDIA L4", batches=(1,))
    results.timed({INT8: 0.1}, "bench-only-int8", gpu="NVIDIA L4", batches=(32,))  # its time of one photo stays
    assert order(rank_choices(two_gpus, device="cuda", host=SERVER))[:2] == [FP16, INT8]
    throughput = rank_choices(two_gpus, device="cuda", objective="throughput", host=SERVER)
    assert order(throughput)[:2] == [INT8, FP16]
    assert throughput[0].reason == "most images/s of those that passed the gate"


def test_a_row_of_an_earlier_version_counts_if_its_engine_is_the_only_one(
    two_gpus: Bundle, results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    results.evaluated({INT8: "PASS"})
    forget_engines(two_gpus.path / "results/evaluate-test.json")
    assert INT8 not in order(rank_choices(two_gpus, device="cuda", host=SERVER))
    assert "int8/tensorrt: does not state which of several engines ran; ignored, measure again" in caplog.text
    artifacts = [artifact for artifact in two_gpus.manifest.artifacts if not artifact.path.startswith("engines/orin")]
    alone = replace(two_gpus, manifest=replace(two_gpus.manifest, artifacts=tuple(artifacts)))
    assert order(rank_choices(alone, device="cuda", host=SERVER))[0] == INT8


def test_a_row_that_contradicts_the_manifest_is_ignored(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({INT8: "PASS"})
    file = two_gpus.path / "results/evaluate-test.json"
    body = json.loads(file.read_text())
    body["candidates"][1]["engine"]["target"] = "sm87"
    file.write_text(json.dumps(body))
    assert INT8 not in order(rank_choices(two_gpus, device="cuda", host=SERVER))


def test_for_a_known_number_of_photos_loading_counts(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({OPENVINO: "PASS", INT8_CPU: "PASS", EXACT: "PASS"})
    ms = {REFERENCE: 20.0, OPENVINO: 3.0, INT8_CPU: 5.0, EXACT: 1.0}
    starts_s = {REFERENCE: 0.5, OPENVINO: 1.0, INT8_CPU: 0.6, EXACT: 9.0}
    results.timed(ms, batches=(1, 4, 16), first_answers_s=starts_s)

    def best(images: int, **more: Any) -> Choice:
        return rank_choices(two_gpus, device="cpu", host=SERVER, work=Work(images, 16), **more)[0]

    assert best(1) == Choice(
        REFERENCE, "shortest time for 1 photo of those that passed the gate: first answer after 0.50 s"
    )
    assert best(100) == Choice(
        INT8_CPU,
        "shortest time for 100 photos of those that passed the gate: first answer after 0.60 s, all after about 1.09 s",
    )
    assert [best(count).candidate for count in (1000, 10_000)] == [OPENVINO, EXACT]
    assert best(1, objective="latency").candidate == EXACT  # what the user names counts
    assert best(1, objective="throughput").reason == "most images/s of those that passed the gate"
    assert (
        best(1, runtime="openvino").reason == "shortest time for 1 photo of those requested: first answer after 1.00 s"
    )
    assert order(rank_choices(two_gpus, device="cpu", host=SERVER))[:3] == [EXACT, OPENVINO, INT8_CPU]


def test_without_the_time_to_the_first_answer_of_all_the_choice_is_that_of_the_objective(
    two_gpus: Bundle, results: Results
) -> None:
    results.evaluated({OPENVINO: "PASS", INT8_CPU: "FAIL"})
    results.timed({REFERENCE: 20.0, OPENVINO: 3.0}, first_answers_s={REFERENCE: 0.5})
    first = rank_choices(two_gpus, device="cpu", host=SERVER, work=Work(1, 16))[0]
    assert (first.candidate, first.reason) == (OPENVINO, "fastest that passed the gate")
    results.timed({REFERENCE: 20.0, OPENVINO: 3.0, INT8_CPU: 1.0}, first_answers_s={REFERENCE: 0.5, OPENVINO: 0.6})
    first = rank_choices(two_gpus, device="cpu", host=SERVER, work=Work(1, 16))[0]
    assert first.candidate == REFERENCE, "what failed the gate need not be measured"


def forget_engines(file: Path) -> None:
    body = json.loads(file.read_text())
    for row in body["candidates"]:
        row.pop("engine", None)
    file.write_text(json.dumps(body))


def test_of_two_engines_that_fit_the_one_for_this_gpu_alone_is_taken(two_gpus: Bundle) -> None:
    wide = replace(L4, target="sm80plus", device="NVIDIA A100", hardware_compatible=True)
    with changing(two_gpus.path) as staging:
        staging.file("engines/wide/int8.engine").write_bytes(b"wide")
        staging.add("engines/wide/int8.engine", "engine", "int8", wide.to_dict())
        first = replace(two_gpus.manifest, artifacts=(staging.added[0], *two_gpus.manifest.artifacts))
        staging.finish(first)
    bundle = open_bundle(two_gpus.path)
    assert fitting_engine(bundle, "int8", L4).path == INT8.engine
    assert (
        fitting_engine(bundle, "int8", L4, "engines/wide/int8.engine").sha256
        != fitting_engine(bundle, "int8", L4).sha256
    )
    assert fitting_engine(bundle, "int8", replace(L4, target="sm90", device="H100")).path == "engines/wide/int8.engine"
    assert INT8 in candidates(bundle, device="cuda", host=SERVER)


def test_a_machine_is_offered_what_it_can_run(two_gpus: Bundle) -> None:
    offered = candidates(two_gpus, host=SERVER)
    assert {INT8, FP16, FP32_CUDA, REFERENCE, OPENVINO} < {*offered}
    assert INT8_ORIN not in offered
    assert Candidate("int8-cpu", "onnxruntime", "cuda") not in offered
    assert {candidate.device for candidate in candidates(two_gpus, device="cpu", host=SERVER)} == {"cpu"}
    older = replace(SERVER, tensorrt=replace(L4, version="10.4.0"))
    assert not [candidate for candidate in candidates(two_gpus, host=older) if candidate.runtime == "tensorrt"]
    named = candidates(two_gpus, "tensorrt", host=older)  # opening them says why they do not fit
    assert [(candidate.variant, candidate.engine) for candidate in named] == [("fp16", ""), ("int8", "")]
    without = replace(SERVER, gpu=GpuProbe((), "", "no driver"), tensorrt=None, cuda_provider=False)
    assert {candidate.device for candidate in candidates(two_gpus, host=without)} == {"cpu"}


def test_arithmetic_of_16_bits_is_offered_where_the_cpu_has_it(two_gpus: Bundle) -> None:
    with changing(two_gpus.path) as staging:
        staging.file("fp32.mnn").write_bytes(b"fp32")
        staging.add("fp32.mnn", "mnn", "fp32")
        staging.finish(replace(two_gpus.manifest, artifacts=(*staging.added, *two_gpus.manifest.artifacts)))
    bundle = open_bundle(two_gpus.path)

    def offered(*features: str) -> set[str]:
        runtimes = frozenset({"onnxruntime", "openvino", "mnn"})
        host = replace(SERVER, cpu=Cpu("a CPU", features), runtimes=runtimes)  # type: ignore[arg-type]
        return {str(candidate) for candidate in candidates(bundle, device="cpu", host=host)}

    plain = offered("avx2")
    assert {"fp32/openvino", "fp32/mnn"} < plain
    assert offered("avx2", "avx512_bf16") - plain == {"bf16/openvino"}
    assert offered("amx_bf16") - plain == {"bf16/openvino"}
    assert offered("asimd", "asimdhp") - plain == {"fp16/mnn"}
    assert artifact_of(bundle, Candidate("bf16", "openvino")).path == "fp32.onnx"
    assert artifact_of(bundle, Candidate("fp16", "mnn")).path == "fp32.mnn"
    assert artifact_of(bundle, Candidate("fp16", "onnxruntime")).path == "fp16.onnx"


def test_a_file_of_its_own_comes_before_arithmetic_on_fp32(two_gpus: Bundle) -> None:
    with changing(two_gpus.path) as staging:
        staging.file("bf16.onnx").write_bytes(b"bf16")
        staging.add("bf16.onnx", "model", "bf16")
        staging.finish(replace(two_gpus.manifest, artifacts=(*staging.added, *two_gpus.manifest.artifacts)))
    bundle, bf16 = open_bundle(two_gpus.path), Candidate("bf16", "openvino")
    host = replace(SERVER, cpu=Cpu("a CPU", ("avx512_bf16",)))
    assert candidates(bundle, device="cpu", host=host).count(bf16) == 1
    assert artifact_of(bundle, bf16).path == "bf16.onnx"
