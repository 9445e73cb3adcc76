"""Evaluations for CI servers: JUnit XML that a real parser reads, and the summary of a GitHub Actions step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from junitparser import JUnitXml

from tests.command_line import call, failure
from vegrt.bundle.bundle import Bundle
from vegrt.report.ci.github import summary_markdown
from vegrt.report.ci.junit import junit_xml
from vegrt.results.common import BundleName, Verdict
from vegrt.results.evaluation import Evaluation, NotRun
from vegrt.results.files import read_result


@pytest.fixture
def evaluation(usual: Bundle) -> Evaluation:
    """An evaluation with a candidate that passed and one that did not."""
    return read_result(usual.path / "results/evaluate-test.json", Evaluation)


def with_verdict(evaluation: Evaluation, verdict: Verdict) -> Evaluation:
    reference, *others = evaluation.candidates
    judged = [replace(row, gate=replace(row.gate, verdict=verdict, causes=())) for row in others]
    return replace(evaluation, candidates=(reference, *judged))


def outcomes(text: str) -> dict[str, str]:
    """Return how each test case ended, by its name, as junitparser reads it; passed ones as "passed"."""
    suites = JUnitXml.fromstring(text.encode())
    (suite,) = suites
    cases = {case.name: case.result[0].type or "skipped" if case.result else "passed" for case in suite}
    assert suites.tests == suite.tests == len(cases)
    assert suites.failures == sum(outcome in ("FAIL", "INCONCLUSIVE") for outcome in cases.values())
    assert suite.skipped == sum(outcome == "skipped" for outcome in cases.values())
    assert suite.errors == 0
    return cases


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_each_candidate_is_a_test_case(evaluation: Evaluation, verdict: Verdict) -> None:
    judged = with_verdict(evaluation, verdict)
    cases = outcomes(junit_xml(judged))
    reference, *others = [row.key for row in judged.candidates]
    assert cases[reference] == "passed"
    assert {cases[key] for key in others} == {"passed" if verdict == "PASS" else verdict}
    assert {cases[missing.artifact] for missing in judged.not_run} <= {"skipped"}
    mapped = outcomes(junit_xml(judged, inconclusive="PASS"))
    assert {mapped[key] for key in others} == {"FAIL" if verdict == "FAIL" else "passed"}


def test_a_reference_alone_is_inconclusive(evaluation: Evaluation) -> None:
    alone = replace(evaluation, candidates=evaluation.candidates[:1], not_run=())
    assert [*outcomes(junit_xml(alone)).values()] == ["INCONCLUSIVE"]


def test_names_cannot_break_the_xml(evaluation: Evaluation) -> None:
    hostile = 'a]]><x> & "b"\x1b\x07 \'\u202e'
    named = replace(evaluation, bundle=BundleName(hostile, "0" * 64), not_run=(NotRun(hostile, "no-mnn"),))
    cases = outcomes(junit_xml(named))
    assert any(name.startswith('a]]><x> & "b"') and outcome == "skipped" for name, outcome in cases.items())


def test_the_summary_has_verdict_reasons_and_table(evaluation: Evaluation) -> None:
    text = summary_markdown(with_verdict(evaluation, "INCONCLUSIVE"))
    assert "**INCONCLUSIVE**" in text
    assert text.count("\n| ") == len(evaluation.candidates) + 2
    assert "- **" in text


def test_a_command_writes_both(copied: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["evaluate", copied.path, "--data", photos, "--runtime", "onnxruntime", "--inconclusive", "fail"]
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    refused = call(*words, "--github-summary")
    assert refused.exit_code == 2
    assert "GITHUB_STEP_SUMMARY is not set" in refused.stderr
    assert not list((copied.path / "results").glob("evaluate-*")), "refused before anything is measured"
    (tmp_path / "summary.md").write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    done = call(*words, "--github-summary", "--junit", tmp_path / "gate.xml")
    cases = outcomes((tmp_path / "gate.xml").read_text())
    assert (done.exit_code == 0) == (not {"FAIL", "INCONCLUSIVE"} & {*cases.values()})
    assert {"fp32/onnxruntime", "int8/onnxruntime"} <= cases.keys()
    assert (tmp_path / "summary.md").read_text().startswith("before\n### small: 60 test photos")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    assert "cannot be written" in failure(*words, "--github-summary")
