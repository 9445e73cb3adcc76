from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from rich.console import Console

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.evaluate.wording import gate_reason, signed_points
from vegrt.report.facts.facts import load_facts
from vegrt.report.summary import HEADINGS, summarize, summary_table
from vegrt.report.verdict import conclude
from vegrt.results.benchmark import Bench
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import load_result

Make = Callable[..., Bundle]
FAILING = {"fp16": 3.0, "int8": 3.0, "int8-cpu": 3.0, "fp32/openvino": 3.0}
UNSURE = {"fp16": 0.4, "int8": 0.4, "int8-cpu": 0.4, "fp32/openvino": 0.4}


def test_values_are_those_of_the_result_files(make: Make) -> None:
    bundle = make()
    evaluation, bench = load_result(bundle, Evaluation, "evaluate-test"), load_result(bundle, Bench, "bench")
    assert evaluation is not None
    assert bench is not None
    rows = summarize(bundle)
    assert [row.key for row in rows] == [candidate.key for candidate in evaluation.candidates]
    for row, figures, measured in zip(rows, evaluation.candidates, bench.candidates, strict=True):
        values = row.to_dict()
        single, best = measured.batches[0], max(measured.batches, key=lambda timing: timing.images_per_s)
        assert values["top1_percent"] == 100 * figures.top1.value
        assert values["drop_high_points"] == 100 * figures.paired.drop.high
        assert (values["flips"], values["verdict"]) == (figures.paired.flips, figures.gate.verdict)
        assert values["reason"] == gate_reason(evaluation, figures)
        assert (values["p50_ms"], values["p99_ms"]) == (single.p50_ms, single.p99_ms)
        assert (values["images_per_s"], values["best_batch_images"]) == (best.images_per_s, best.batch)
        assert json.loads(json.dumps(values)) == values
        shown = dict(zip(HEADINGS, row.cells(), strict=True))
        assert shown["top-1 %"] == f"{100 * figures.top1.value:.2f}"
        assert shown["p50 ms"] == f"{single.p50_ms:.2f}"
        assert shown["flips"] == str(figures.paired.flips)


def test_rendered_table_says_the_same(make: Make) -> None:
    rows = summarize(make())
    table = summary_table(rows)
    assert [column.header for column in table.columns] == list(HEADINGS)
    assert [next(iter(column.cells)) for column in table.columns] == list(rows[0].cells())
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table)
    for row in rows:
        assert any(all(cell in line for cell in row.cells()) for line in capture.get().splitlines())


def test_joins_by_key_not_by_position(make: Make) -> None:
    bundle = make()
    before = summarize(bundle)
    file = bundle.path / "results/bench.json"
    result = json.loads(file.read_text())
    result["candidates"].reverse()
    file.write_text(json.dumps(result))
    assert summarize(bundle) == before


@pytest.mark.parametrize(("evaluated", "measured"), [(True, False), (False, True)])
def test_one_of_the_two_results_is_enough(make: Make, evaluated: bool, measured: bool) -> None:
    rows = summarize(make(evaluated=evaluated, measured=measured))
    assert [row.top1 is not None for row in rows] == [evaluated] * 7
    assert [row.p50_ms is not None for row in rows] == [measured] * 7


def test_no_results_names_the_commands(make: Make) -> None:
    with pytest.raises(VegrtError, match=r"vegrt evaluate .* --data DATA; vegrt bench "):
        summarize(make(evaluated=False, measured=False))


def test_points_have_no_negative_zero() -> None:
    assert [signed_points(value) for value in (-0.00001, 0.0, 0.0125, -0.0125)] == ["+0.00", "+0.00", "+1.25", "-1.25"]


def test_pass_chooses_the_fastest_that_passed(make: Make) -> None:
    facts = load_facts(make(noise={"int8-cpu/openvino": 3.0}))  # the fastest of all, but spoiled
    conclusion = conclude(facts, rows := summarize(facts.bundle))
    assert (conclusion.outcome, conclusion.headline) == ("PASS", "int8-cpu on ONNX Runtime keeps the accuracy of fp32")
    text = " ".join(map(str, conclusion.statements))
    assert "of 900 test photos" in text
    ratio = (rows[0].p50_ms or 0) / (next(row.p50_ms for row in rows if row.key == "int8-cpu/onnxruntime") or 1)
    assert f"{ratio:.1f}× as fast as fp32 on ONNX Runtime" in text
    assert "int8-cpu/openvino: FAIL" in text


def test_both_baselines_are_named_when_the_runtime_differs(make: Make) -> None:
    speed = {"fp32/onnxruntime": 10.0, "fp32/openvino": 4.0, "int8-cpu/openvino": 2.0}
    facts = load_facts(make(speed_ms=speed, noise={"int8-cpu": 0.0}))
    rows = summarize(facts.bundle)
    slow, same, chosen = (row.p50_ms or 0 for row in rows)
    text = " ".join(map(str, conclude(facts, rows).statements))
    assert f"{slow / chosen:.1f}× as fast as fp32 on ONNX Runtime" in text
    assert f"and {same / chosen:.1f}× as fast as fp32 on the same runtime" in text


def test_a_slower_variant_is_not_called_faster(make: Make) -> None:
    facts = load_facts(make(speed_ms={"fp32/onnxruntime": 10.0, "fp16/onnxruntime": 20.0}))
    text = " ".join(map(str, conclude(facts, summarize(facts.bundle)).statements))
    assert "slower (0." in text
    assert "as fast as" not in text


@pytest.mark.parametrize(
    ("noise", "outcome", "headline", "advice"),
    [
        (
            FAILING,
            "FAIL",
            "No candidate keeps the accuracy of fp32",
            "File to ship: fp32.onnx (fp32 on ONNX Runtime), or calibrate again.",
        ),
        (
            UNSURE,
            "INCONCLUSIVE",
            "No candidate is proven to keep the accuracy of fp32",
            "File to ship: fp32.onnx (fp32 on ONNX Runtime), until the verdict is decided.",
        ),
    ],
)
def test_no_candidate_passed(make: Make, noise: dict[str, float], outcome: str, headline: str, advice: str) -> None:
    facts = load_facts(make(noise=noise))
    conclusion = conclude(facts, summarize(facts.bundle))
    assert (conclusion.outcome, conclusion.headline) == (outcome, headline)
    assert advice in " ".join(map(str, conclusion.statements))
    assert not any("PASS" in str(statement) for statement in conclusion.statements)


@pytest.mark.parametrize(
    ("wanted", "headline"),
    [
        ({"evaluated": False}, "Nothing has been evaluated yet"),
        ({"speed_ms": {"fp32/onnxruntime": 10.0}}, "Only fp32 has been evaluated"),
    ],
)
def test_nothing_to_conclude(make: Make, wanted: dict[str, object], headline: str) -> None:
    facts = load_facts(make(**wanted))
    conclusion = conclude(facts, summarize(facts.bundle))
    assert (conclusion.outcome, conclusion.headline, conclusion.chosen) == ("UNKNOWN", headline, None)
    assert f"vegrt evaluate {facts.bundle.path}" in conclusion.statements[0].text
