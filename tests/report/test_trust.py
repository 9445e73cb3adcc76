from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.result_files import inline
from vegrt.bundle.bundle import Bundle
from vegrt.evaluate.statistics import wilson
from vegrt.report.write import ReportFiles, write_report
from vegrt.results.common import Interval
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import load_result, save_result
from vegrt.results.trust import Acceptance, ForeignFigures, RiskPoint, SetFigures, ShiftedFigures, TrustFigures

FIGURES = TrustFigures(
    score="relative-mahalanobis",
    temperature=0.36,
    max_error=0.01,
    ece=Interval(0.009, 0.004, 0.02),
    nll=Interval(0.05, 0.04, 0.07),
    sets=(SetFigures("lac", 0.95, False, wilson(855, 900), 0.96, 0.03),),
    aurc=0.0012,
    curve=(RiskPoint(0.5, 0.0), RiskPoint(1.0, 0.018)),
    acceptance=Acceptance(900, wilson(810, 900), wilson(45, 900), wilson(4, 810)),
    foreign=ForeignFigures(0.983, 0.07, Acceptance(160, wilson(8, 160), wilson(150, 160), wilson(8, 8))),
    shifted=ShiftedFigures(wilson(84, 160), 0.8, Acceptance(160, wilson(40, 160), wilson(100, 160), wilson(2, 40))),
)


@pytest.fixture
def write(make: Callable[..., Bundle], tmp_path: Path) -> Callable[..., str]:
    """Return a function that returns the Markdown of a report whose candidates all have these figures."""
    bundle = make()

    def written(figures: TrustFigures | None, language: str, html: Path | None = None) -> str:
        evaluation = load_result(bundle, Evaluation, "evaluate-test")
        assert evaluation is not None
        rows = tuple(replace(row, trust=figures) for row in evaluation.candidates)
        save_result(bundle, "evaluate-test", replace(evaluation, candidates=rows, predictions=inline(evaluation)))
        write_report([bundle], ReportFiles(html, tmp_path / "report.md"), language="ko" if language == "ko" else "en")
        return (tmp_path / "report.md").read_text()

    return written


def test_the_section_says_what_a_decision_needs(write: Callable[..., str], tmp_path: Path) -> None:
    text = write(FIGURES, "en")
    assert "When to trust it" in text
    assert "accepts 90.0 % of 900 test photos, and 0.5 % of the accepted answers are wrong (limit: 1 %)" in text
    assert "Of 160 photos of foreign objects it accepts 8." in text
    assert "Of 160 photos from elsewhere 52.5 % are answered right; it accepts 40, and 2 of these are wrong" in text
    assert "0.9830" in text
    page = tmp_path / "report.html"
    korean = write(FIGURES, "ko", page)
    assert "수락한 사진의 비율에 따른 오답률" in page.read_text()
    assert "언제 믿을 수 있는가" in korean
    assert "When to trust it" not in korean


def test_a_candidate_that_accepts_nothing_is_named(write: Callable[..., str]) -> None:
    nothing = replace(FIGURES.acceptance, accepted=wilson(0, 900), errors=None)
    text = write(replace(FIGURES, acceptance=nothing, foreign=None, shifted=None), "en")
    assert (
        "accepts none of 900 test photos: by the validation photos, no answer is sure enough to keep errors within"
        in text
    )
    assert "foreign objects" not in text


def test_without_figures_there_is_no_section(write: Callable[..., str]) -> None:
    assert "When to trust it" not in write(None, "en")
