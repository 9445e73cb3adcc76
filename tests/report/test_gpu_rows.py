"""A report on a bundle that was measured on a GPU: the rows that infer chooses by, under names that tell them apart."""

from __future__ import annotations

from tests.result_files import ENGINE, SERVER, Results
from vegrt.bundle.bundle import Bundle
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.choice import rank_choices
from vegrt.report.card.card import Claims, card_markdown
from vegrt.report.facts.facts import load_facts
from vegrt.report.speed import speed_up
from vegrt.report.summary import summary_rows
from vegrt.report.verdict import conclude
from vegrt.results.evaluation import NotRun

REFERENCE, FP32_CUDA = Candidate("fp32", "onnxruntime"), Candidate("fp32", "onnxruntime", "cuda")
INT8_L4, INT8_ORIN = (Candidate("int8", "tensorrt", "cuda", path.format("int8")) for path in ENGINE.values())


def test_the_report_ships_what_infer_chooses(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({FP32_CUDA: "PASS", INT8_L4: "PASS"}, not_run=(NotRun(INT8_ORIN.engine, "other-machine"),))
    results.timed({REFERENCE: 20.0, FP32_CUDA: 2.0, INT8_L4: 0.5}, gpu="NVIDIA L4")
    results.timed({INT8_ORIN: 0.1}, "bench-only-tensorrt", gpu="Orin")
    facts = load_facts(two_gpus)
    rows = summary_rows(facts)
    assert {row.key: row.runtime_name for row in rows} == {
        "fp32/onnxruntime": "ONNX Runtime",
        "fp32/onnxruntime/cuda": "ONNX Runtime (CUDA)",
        "int8/tensorrt/sm89": "TensorRT (SM89)",
    }
    conclusion = conclude(facts, rows)
    assert conclusion.to_ship is not None
    first = rank_choices(two_gpus, host=SERVER)[0].candidate
    assert (conclusion.to_ship.key, first) == ("int8/tensorrt/sm89", INT8_L4)
    assert f"{INT8_L4.engine} (int8 on TensorRT (SM89))" in " ".join(map(str, conclusion.statements))
    card = card_markdown(facts, Claims())
    assert "pip install 'vegrt[tensorrt]'" in card
    assert "--variant int8 --runtime tensorrt --device cuda" in card
    assert facts.evaluation is not None
    assert INT8_ORIN.engine in [entry.artifact for entry in facts.evaluation.not_run]
    assert [name.split(";")[0] for name in facts.benches()] == ["NVIDIA L4", "Orin"]


def test_times_of_two_files_are_not_paired(two_gpus: Bundle, results: Results) -> None:
    results.evaluated({FP32_CUDA: "PASS", INT8_L4: "PASS"})
    results.timed({REFERENCE: 20.0, FP32_CUDA: 2.0, INT8_L4: 0.5}, gpu="NVIDIA L4")

    def paired() -> list[bool]:
        facts = load_facts(two_gpus)
        rows = {row.key: row for row in summary_rows(facts)}
        pairs = [("int8/tensorrt/sm89", "fp32/onnxruntime"), ("fp32/onnxruntime/cuda", "fp32/onnxruntime")]
        ratios = [speed_up(facts, rows[key], rows[base]) for key, base in pairs]
        return [ratio.paired for ratio in ratios if ratio]

    assert paired() == [True, True]
    results.timed({INT8_L4: 0.4}, "bench-only-int8", gpu="NVIDIA L4")
    assert paired() == [False, True]
