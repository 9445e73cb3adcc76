"""Several result files of a bundle are read as one evaluation, and as one benchmark for each machine."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.result_files import ENGINE, Results, inline
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.evaluate.wording import gate_reason
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.results.benches import MergedBench, read_benches
from vegrt.results.benchmark import Noise, Preset
from vegrt.results.bundle_results import ignored_sentences, read_results
from vegrt.results.common import Command, MachineRecord
from vegrt.results.evaluation import Evaluation, NotRun, Predictions
from vegrt.results.evaluations import MergedEvaluation, read_evaluation

REFERENCE, INT8_CPU = Candidate("fp32", "onnxruntime"), Candidate("int8-cpu", "onnxruntime")
OPENVINO, FP32_OPENVINO = Candidate("int8-cpu", "openvino"), Candidate("fp32", "openvino")
INT8_L4, INT8_ORIN = (Candidate("int8", "tensorrt", "cuda", path.format("int8")) for path in ENGINE.values())
NOISY = Noise(0.1, 2, 0.5, 0.01, busy=True, wide=False)


def evaluated(bundle: Bundle) -> MergedEvaluation:
    merged, _ = read_evaluation(bundle, "test")
    assert merged is not None
    return merged


def verdicts(merged: MergedEvaluation) -> dict[str, str]:
    return {row.key: row.gate.verdict for row in merged.evaluation.candidates}


def times(merged: MergedBench) -> dict[tuple[str, int], float]:
    return {(row.key, timing.batch): timing.p50_ms for row in merged.bench.candidates for timing in row.batches}


def test_partial_evaluations_are_joined_behind_the_reference(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({OPENVINO: "INCONCLUSIVE", INT8_CPU: "PASS"}, command=Command("evaluate"))
    results.evaluated(
        {OPENVINO: "PASS", INT8_L4: "PASS"}, "evaluate-test-only-x", command=Command("evaluate", {"--x": 1})
    )
    results.evaluated({INT8_L4: "PASS"}, "evaluate-field")  # other photos
    merged = evaluated(two_gpus)
    assert verdicts(merged) == {
        "fp32/onnxruntime": "REFERENCE",
        "int8-cpu/openvino": "PASS",
        "int8-cpu/onnxruntime": "PASS",
        "int8/tensorrt/sm89": "PASS",
    }
    assert {*inline(merged.evaluation).candidates} == {*verdicts(merged)}
    assert [command.options for command in merged.commands if command] == [{}, {"--x": 1}]


def test_two_engines_of_a_variant_have_a_row_each(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({INT8_L4: "PASS"}, "evaluate-test-only-tensorrt")
    results.evaluated({INT8_ORIN: "FAIL"})
    assert verdicts(evaluated(two_gpus)) == {
        "fp32/onnxruntime": "REFERENCE",
        "int8/tensorrt/sm87": "FAIL",
        "int8/tensorrt/sm89": "PASS",
    }


def other_photos(evaluation: Evaluation) -> Evaluation:
    answers = inline(evaluation)
    return replace(evaluation, predictions=Predictions(("a/1.jpg", "b/1.jpg"), answers.labels, answers.candidates))


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"data_fingerprint": "another"}, "other photos than in the main result"),
        ({"images": 2, "predictions": None}, "other photos than in the main result"),
    ],
)
def test_rows_about_other_photos_are_not_joined(
    two_gpus: Bundle, results: Results, more: dict[str, Any], cause: str
) -> None:
    main = results.evaluated({OPENVINO: "PASS"})
    if more.pop("predictions", 0) is None:
        more["predictions"] = other_photos(main).predictions
        more["predictions"] = replace(
            more["predictions"], candidates={"fp32/onnxruntime": inline(main).candidates["fp32/onnxruntime"]}
        )
        results.evaluated({}, "evaluate-test-only-x", **more)
    else:
        results.evaluated({INT8_CPU: "PASS"}, "evaluate-test-only-x", **more)
    merged = read_results(two_gpus)
    assert merged.evaluation is not None
    assert {*verdicts(merged.evaluation)} == {"fp32/onnxruntime", "int8-cpu/openvino"}
    assert ignored_sentences(merged.ignored) == {
        "results/evaluate-test-only-x.json": f"all rows: {cause}; ignored, measure again"
    }


def test_rows_that_were_compared_with_another_reference_are_not_joined(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({FP32_OPENVINO: "PASS", INT8_CPU: "PASS"})
    body = json.loads((two_gpus.path / "results/evaluate-test.json").read_text())
    body["candidates"][:2] = reversed(body["candidates"][:2])
    for row, verdict in zip(body["candidates"], ("REFERENCE", "PASS", "PASS"), strict=True):
        row["gate"]["verdict"] = verdict
    (two_gpus.path / "results/evaluate-test-only-openvino.json").write_text(json.dumps(body))
    merged = read_results(two_gpus)
    assert [(row.file, row.key, row.cause) for row in merged.ignored] == [
        ("evaluate-test-only-openvino", "", "other-reference")
    ]


def test_without_the_main_file_the_newest_one_leads(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({INT8_CPU: "PASS"}, "evaluate-test-only-a", data_fingerprint="old photos")
    results.evaluated({OPENVINO: "PASS"}, "evaluate-test-only-b", data_fingerprint="new photos")
    assert {*verdicts(evaluated(two_gpus))} == {"fp32/onnxruntime", "int8-cpu/openvino"}


def test_a_changed_reference_voids_what_was_compared_with_it(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({OPENVINO: "PASS"})
    file = two_gpus.path / "results/evaluate-test.json"
    body = json.loads(file.read_text())
    body["candidates"][0]["artifact_sha256"] = "0" * 64
    file.write_text(json.dumps(body))
    merged = read_results(two_gpus)
    assert merged.evaluation is None
    assert [(row.key, row.cause) for row in merged.ignored] == [
        ("fp32/onnxruntime", "other-artifact"),
        ("int8-cpu/openvino", "other-reference"),
    ]


def test_a_verdict_keeps_the_margin_that_it_was_given_by(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({OPENVINO: "PASS"}, margin_points=1.1, margin_auto=True)
    results.evaluated({INT8_CPU: "PASS"}, "evaluate-test-only-x")
    evaluation = evaluated(two_gpus).evaluation
    sentences = {row.key: gate_reason(evaluation, row) for row in evaluation.candidates}
    auto = "below the margin of 1.1 points (the smallest that 2 photos can decide)"
    assert sentences["int8-cpu/openvino"].endswith(auto)
    assert sentences["int8-cpu/onnxruntime"].endswith("below the margin of 0.5 points")


def test_what_no_file_covers_was_not_run(two_gpus: Bundle, results: Results) -> None:
    missing = NotRun("int8.onnx", "not-requested")
    results.evaluated({OPENVINO: "PASS"}, not_run=(missing, NotRun(INT8_L4.engine, "no-tensorrt")))
    results.evaluated({INT8_L4: "PASS"}, "evaluate-test-only-tensorrt", not_run=(NotRun("fp16.onnx", "not-requested"),))
    with changing(two_gpus.path) as staging:
        staging.file("bf16.onnx").write_bytes(b"bf16")
        staging.add("bf16.onnx", "model", "bf16")
        staging.finish(two_gpus.manifest)
    causes = {entry.artifact: entry.cause for entry in evaluated(open_bundle(two_gpus.path)).evaluation.not_run}
    assert causes.pop("bf16.onnx") == "added-since"
    assert causes.pop("int8.onnx") == "not-requested"
    assert {*causes} == {"fp16.onnx", *(ENGINE[gpu].format(name) for gpu, name in OTHER_ENGINES)}


OTHER_ENGINES = (("L4", "fp16"), ("Orin", "fp16"), ("Orin", "int8"))


def test_the_newest_times_count_and_older_ones_fill_other_batch_sizes(two_gpus: Bundle, results: Results) -> None:
    results.timed({REFERENCE: 10.0, OPENVINO: 4.0}, batches=(1, 16))
    results.timed({OPENVINO: 3.0}, "bench-only-openvino", batches=(1, 8))
    results.timed({OPENVINO: 9.0}, "bench-only-int8-cpu", batches=(64,), threads=1)
    (merged,), ignored = read_benches(two_gpus)
    assert not ignored
    assert times(merged) == {
        ("fp32/onnxruntime", 1): 10.0,
        ("fp32/onnxruntime", 16): 160.0,
        ("int8-cpu/openvino", 64): 9.0 * 64,  # newest; the others had other threads
    }
    results.timed({OPENVINO: 2.0}, "bench-only-int8-cpu", batches=(1,))
    (merged,), _ = read_benches(two_gpus)
    assert times(merged) == {
        ("fp32/onnxruntime", 1): 10.0,
        ("fp32/onnxruntime", 16): 160.0,
        ("int8-cpu/openvino", 1): 2.0,
        ("int8-cpu/openvino", 8): 24.0,
        ("int8-cpu/openvino", 16): 64.0,
    }
    files = {batch: merged.runs["int8-cpu/openvino", batch] for batch in (1, 8, 16)}
    assert files == {1: "bench-only-int8-cpu", 8: "bench-only-openvino", 16: "bench"}


def test_each_machine_has_a_benchmark_of_its_own(two_gpus: Bundle, results: Results) -> None:
    results.timed({OPENVINO: 4.0, INT8_L4: 0.6}, gpu="NVIDIA L4")
    results.timed({REFERENCE: 10.0}, "bench-only-fp32")  # without a GPU: any machine with this processor
    results.timed({INT8_L4: 0.5}, "bench-only-cuda", gpu="NVIDIA T4")
    results.timed({OPENVINO: 40.0}, "bench-only-openvino", machine=MachineRecord("Cortex-A78AE"))
    benches, _ = read_benches(two_gpus)
    places = [(merged.processor("cpu") == "Cortex-A78AE", merged.processor("cuda")) for merged in benches]
    assert places == [(False, "NVIDIA L4"), (True, ""), (False, "NVIDIA T4")]
    assert {*times(benches[0])} == {("int8-cpu/openvino", 1), ("int8/tensorrt/sm89", 1), ("fp32/onnxruntime", 1)}


def test_a_preset_counts_where_nothing_was_measured_in_rounds(two_gpus: Bundle, results: Results) -> None:
    preset = Preset(compliant=False, name="SingleStream", metric="x", min_duration_s=1, mlperf_min_duration_s=600)
    results.timed({REFERENCE: 10.0})
    results.timed({REFERENCE: 1.0, OPENVINO: 3.0}, "bench-single-stream", preset=preset, scenario="single-stream")
    (merged,), _ = read_benches(two_gpus)
    assert times(merged) == {("fp32/onnxruntime", 1): 10.0, ("int8-cpu/openvino", 1): 3.0}


def test_noise_of_any_part_is_noise_of_the_whole(two_gpus: Bundle, results: Results) -> None:
    quiet = replace(NOISY, busy=False)
    results.timed({REFERENCE: 10.0}, noise=quiet)
    results.timed({OPENVINO: 3.0}, "bench-only-openvino", noise=NOISY)
    (merged,), _ = read_benches(two_gpus)
    assert merged.bench.noise == NOISY
    results.timed({REFERENCE: 10.0, OPENVINO: 3.0}, noise=quiet)
    (merged,), _ = read_benches(two_gpus)
    assert merged.bench.noise == quiet  # nothing of the noisy one is used any more
