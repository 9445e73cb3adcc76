"""The sentences about results: each follows from the figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.result_files import inline
from vegrt.evaluate.tables import evaluation_table
from vegrt.evaluate.wording import gate_reason, noise_warning, skipped_sentence
from vegrt.results.benchmark import Bench
from vegrt.results.common import Interval
from vegrt.results.evaluation import Cause, ClassesPermuted, ClassMove, ColoursSwapped, Evaluation, Gate
from vegrt.results.files import read_result

FILES = Path(__file__).parents[1] / "results/version-1"
SWAPPED = ColoursSwapped(64, 0.1, 0.9)
PERMUTED = ClassesPermuted((ClassMove(0, 1), ClassMove(1, 0)))
DROP = "drop +50.00 points, 95% interval +40.00 to +60.00"


def sentence(gate: Gate, margin_points: float = 0.5, *, auto: bool = False) -> str:
    evaluation = read_result(FILES / "evaluation.json", Evaluation)
    row = replace(evaluation.candidates[1], gate=gate)
    return gate_reason(replace(evaluation, margin_points=margin_points, margin_auto=auto), row)


def test_candidates_with_the_same_reason_share_a_line() -> None:
    evaluation = read_result(FILES / "evaluation.json", Evaluation)
    reference, row, *_ = evaluation.candidates
    rows = [replace(row, key=key, gate=Gate("INCONCLUSIVE", images_to_decide=765)) for key in ("fp16/a", "int8/b")]
    answers = {row.key: next(iter(inline(evaluation).candidates.values())) for row in (reference, *rows)}
    predictions = replace(inline(evaluation), candidates=answers)
    table = evaluation_table(replace(evaluation, candidates=(reference, *rows), predictions=predictions))
    lines = str(table.caption).splitlines()
    assert [line for line in lines if "765" in line] == [
        line for line in lines if line.startswith("fp16/a, int8/b: drop")
    ]
    assert any("765" in line for line in lines)


@pytest.mark.parametrize(
    ("causes", "words"),
    [
        ((), ""),
        (
            (SWAPPED,),
            "; 10% of 64 photos are right as they are, 90% with red and blue swapped: it looks like BGR input",
        ),
        (
            (PERMUTED,),
            "; the answers look permuted (Beet is predicted as Cress, Cress is predicted as Beet): another class order",
        ),
    ],
)
def test_a_failure_is_explained_by_its_causes(causes: tuple[Cause, ...], words: str) -> None:
    assert sentence(Gate("FAIL", causes)) == f"{DROP}, entirely above the margin of 0.5 points{words}"
    assert "it looks like BGR input; the answers look permuted" in sentence(Gate("FAIL", (SWAPPED, PERMUTED)))


def test_a_verdict_names_the_margin() -> None:
    assert sentence(Gate("PASS")) == f"{DROP}, entirely below the margin of 0.5 points"
    assert "(the smallest that 2 photos can decide)" in sentence(Gate("PASS"), auto=True)
    checkpoint = Gate("PASS", judged_drop=Interval(-0.5, -0.6, -0.4))
    assert sentence(checkpoint).startswith("from the checkpoint to the reference: drop -50.00 points")


def test_an_open_verdict_says_what_would_decide() -> None:
    some = sentence(Gate("INCONCLUSIVE", images_to_decide=1200))
    assert "which includes the margin of 0.5 points; at these rates about 1,200 images would decide" in some
    assert "2 photos can decide margins of 6.1 points or more" in some
    wide = sentence(Gate("INCONCLUSIVE"), 7.0)
    assert wide.endswith("at these rates more images would hardly decide")


def test_a_version_1_reason_is_shown_as_it_is() -> None:
    evaluation = read_result(FILES / "evaluation.json", Evaluation)
    assert gate_reason(evaluation, evaluation.candidates[1]).endswith("it looks like BGR input")


def test_noise_and_skipped_cases_are_named() -> None:
    bench = read_result(FILES / "bench.json", Bench)
    assert noise_warning(bench.noise).startswith("other programs used 35% of the cores; the load average was 0.4")
    assert skipped_sentence(bench) == "not measured in 60 s: batch 16 of fp32/onnxruntime; raise --budget-s"
    assert noise_warning(None) == skipped_sentence(replace(bench, skipped=())) == ""
