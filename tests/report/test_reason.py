"""Sentences about the gate's verdict are made from the figures and causes of the result, in the report's language."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from vegrt.bundle.bundle import Bundle
from vegrt.evaluate.wording import gate_reason
from vegrt.report.facts.facts import Facts, load_facts
from vegrt.report.language.language import translate, using_language
from vegrt.report.summary import summary_rows
from vegrt.report.verdict import conclude
from vegrt.results.evaluation import Cause, ClassesPermuted, ClassMove, ColoursSwapped, Gate, TextCause

Make = Callable[..., Bundle]
SPEED = {"fp32/onnxruntime": 10.0, "int8/onnxruntime": 4.0}


@pytest.fixture
def facts(make: Make) -> Facts:
    return load_facts(make(speed_ms=SPEED, provenance=False))


def reason_with(facts: Facts, gate: Gate) -> str:
    assert facts.evaluation is not None
    return gate_reason(facts.evaluation, replace(facts.evaluation.candidates[1], gate=gate), translate=translate)


@pytest.mark.parametrize(
    ("causes", "expected"),
    [
        ((), "entirely above the margin of 0.5 points"),
        ((ColoursSwapped(64, 0.4, 0.95),), "40% of 64 photos are right as they are, 95% with red and blue swapped"),
        ((ClassesPermuted((ClassMove(0, 1),)),), "look permuted (Bean is predicted as Carrot)"),
        (
            (ClassesPermuted(tuple(ClassMove(number, (number + 1) % 6) for number in range(6))),),
            "Papaya is predicted as Potato and 2 more)",
        ),
    ],
    ids=["no cause", "colours", "one class", "all classes"],
)
def test_a_failure_names_its_causes(facts: Facts, causes: tuple[Cause, ...], expected: str) -> None:
    reason = reason_with(facts, Gate("FAIL", causes))
    assert reason.startswith("drop ")
    assert expected in reason
    with using_language("ko"):
        assert "정확도 하락" in reason_with(facts, Gate("FAIL", causes))


def test_a_failure_of_version_1_keeps_its_own_sentence(facts: Facts) -> None:
    text = "drop +4.00 points: all above the margin of 0.5 points; it looks like BGR input"
    assert reason_with(facts, Gate("FAIL", (TextCause(text),))) == text


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (Gate("INCONCLUSIVE", images_to_decide=2000), "at these rates about 2,000 images would decide"),
        (Gate("INCONCLUSIVE"), "at these rates more images would hardly decide"),
        (Gate("INCONCLUSIVE", (TextCause("any"),)), "which includes the margin of 0.5 points"),
    ],
    ids=["decidable", "undecidable", "version 1"],
)
def test_an_open_verdict_ends_with_how_to_decide_it(facts: Facts, gate: Gate, expected: str) -> None:
    assert reason_with(facts, gate).endswith(expected)


def test_the_verdict_says_first_which_file_to_ship(facts: Facts, make: Make) -> None:
    passed = conclude(facts, summary_rows(facts)).statements
    assert [statement.topic for statement in passed[:4]] == ["File to ship:", "Accuracy:", "Speed:", "Size:"]
    assert passed[0].text == "int8.onnx (int8 on ONNX Runtime)."
    failing = load_facts(make(name="failing", speed_ms=SPEED, noise={"int8": 3.0}, provenance=False))
    failed = conclude(failing, summary_rows(failing)).statements
    assert failed[0].text == "fp32.onnx (fp32 on ONNX Runtime), or calibrate again."
    assert all(statement.text.startswith("int8 on ONNX Runtime: ") for statement in failed[1:4])
