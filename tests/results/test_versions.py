"""Result files of version 1, one of each kind, are read and lose nothing; version 2 comes back as it was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from vegrt.errors import FormatError
from vegrt.evaluate.wording import not_run_cause
from vegrt.results.analysis import Curve, Robustness, Sensitivity
from vegrt.results.benchmark import Bench
from vegrt.results.convert import AnyResult, from_dict, to_dict
from vegrt.results.evaluation import (
    ClassesPermuted,
    ClassMove,
    ColoursSwapped,
    Evaluation,
    Gate,
    NotRun,
    NotRunCause,
    TextCause,
)
from vegrt.results.files import read_result

FILES = Path(__file__).parent / "version-1"
KINDS: dict[str, type[AnyResult]] = {
    "evaluation": Evaluation,
    "bench": Bench,
    "preset": Bench,
    "robustness": Robustness,
    "sensitivity": Sensitivity,
    "curve": Curve,
}
PROSE = ("reason", "sentence", "statement")  # what version 2 makes from the figures
CHANGED = ("/not_run/0/cause", "/not_run/0/cure")


def content(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((FILES / f"{name}.json").read_text(encoding="utf-8"))
    return values


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every plain value in JSON values with its place."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from leaves(inner, f"{place}/{key}")
    if not isinstance(value, dict | list):
        yield place, value


@pytest.mark.parametrize("name", KINDS)
def test_version_1_is_read_and_nothing_is_lost(name: str) -> None:
    result = read_result(FILES / f"{name}.json", KINDS[name])
    written = dict(leaves(to_dict(result)))
    for place, value in leaves(content(name)):
        if not place.endswith((*PROSE, *CHANGED)):
            assert written.get(place, "missing") == value, place


@pytest.mark.parametrize("name", KINDS)
def test_version_2_comes_back_as_it_was_written(name: str) -> None:
    result = replace(read_result(FILES / f"{name}.json", KINDS[name]), schema_version=2)
    values = json.loads(json.dumps(to_dict(result)))
    assert from_dict(KINDS[name], values) == result
    assert not [place for place, _ in leaves(values) if place.endswith(PROSE)]


def test_the_reason_of_a_version_1_verdict_stays_readable() -> None:
    reference, candidate = read_result(FILES / "evaluation.json", Evaluation).candidates
    assert reference.gate == Gate("REFERENCE")
    assert candidate.gate.verdict == "FAIL"
    (cause,) = candidate.gate.causes
    assert isinstance(cause, TextCause)
    assert cause.text == content("evaluation")["candidates"][1]["gate"]["reason"]
    assert candidate.without_leaks is not None
    assert candidate.without_leaks.gate == candidate.gate


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("cure", ["", "pip install it"])
def test_a_sentence_on_what_was_not_run_stays_readable(version: int, cure: str) -> None:
    """Files of both versions may hold sentences: version 2 had them before causes were typed."""
    entry = {"artifact": "a.engine", "cause": "TensorRT is not installed here", "cure": cure}
    typed = {"artifact": "b.engine", "cause": "rtx-engine"}
    values = content("evaluation") | {"not_run": [entry, typed]}
    if version == 2:
        values |= {"schema_version": 2, "candidates": to_dict(from_dict(Evaluation, values))["candidates"]}
    sentence, cause = from_dict(Evaluation, values).not_run
    assert (sentence.cause, cause) == ("text", NotRun("b.engine", "rtx-engine"))
    assert not_run_cause(sentence) == "; ".join(filter(None, ("TensorRT is not installed here", cure)))


@pytest.mark.parametrize("cause", [cause for cause in get_args(NotRunCause) if cause != "text"])
def test_every_cause_of_what_was_not_run_has_words_and_comes_back(cause: NotRunCause) -> None:
    missing = NotRun("int8.engine", cause)
    assert not_run_cause(missing)
    evaluation = replace(read_result(FILES / "evaluation.json", Evaluation), schema_version=2, not_run=(missing,))
    assert from_dict(Evaluation, json.loads(json.dumps(to_dict(evaluation)))) == evaluation


def test_every_cause_comes_back() -> None:
    evaluation = read_result(FILES / "evaluation.json", Evaluation)
    causes = (ColoursSwapped(64, 0.1, 0.9), ClassesPermuted((ClassMove(0, 1), ClassMove(1, 0))), TextCause("because"))
    rows = (evaluation.candidates[0], replace(evaluation.candidates[1], gate=Gate("FAIL", causes)))
    changed = replace(evaluation, schema_version=2, candidates=rows)
    assert from_dict(Evaluation, json.loads(json.dumps(to_dict(changed)))) == changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 0}, "schema version 0; this vegrt reads 1 to 2"),
        ({"schema_version": 3}, "schema version 3; this vegrt reads 1 to 2"),
        ({"schema_version": True}, "schema version True"),
        ({"schema": "vegrt-bench"}, "vegrt-bench; expected vegrt-evaluate"),
        ({"candidates": {}}, "candidates is an object; expected a list"),
        ({"candidates": ["x"]}, r"candidates\[0\] is 'x'; expected an object"),
        ({"confidence": 2}, "confidence is 2; expected 0 to 1"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_what_is_wrong_is_named(version: int, change: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        from_dict(Evaluation, content("evaluation") | {"schema_version": version} | change)


def test_a_class_beyond_the_classes_is_refused() -> None:
    values = content("evaluation") | {"schema_version": 2}
    moves = [{"truth": 0, "answer": 2}]
    values["candidates"][1]["gate"] = {"verdict": "FAIL", "causes": [{"kind": "classes-permuted", "moves": moves}]}
    with pytest.raises(FormatError, match=r"candidates\[1\]\.gate\.causes: has a label|gate\.causes has a label"):
        from_dict(Evaluation, values)
