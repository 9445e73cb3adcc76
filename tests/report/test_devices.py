"""A device whose answers were judged is a row of the report, in both languages, whatever its file does not have."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

import pytest

from tests.command_line import answer
from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import read_split
from vegrt.report.card.card import Claims, card_markdown
from vegrt.report.facts.facts import load_facts
from vegrt.report.figures import bundle_charts
from vegrt.report.summary import summary_rows
from vegrt.report.verdict import conclude
from vegrt.report.write import ReportFiles, Sources, write_report

ORIN = "Orin Nano, TensorRT 10.3"

TEXTS: dict[Literal["en", "ko"], tuple[str, ...]] = {
    "en": ("answers file", "top-1 alone", "as stated by the answers' file", "Answers of another device"),
    "ko": ("답 파일", "top-1만 있음", "답 파일에 적힌 값", "다른 장치의 답"),
}


@pytest.fixture
def judged(copied: Bundle, photos: Path, tmp_path: Path) -> Bundle:
    """A bundle with a device that says Beet to every photo, with latencies: top-1 alone."""
    split = read_split(photos, "test")
    with (tmp_path / "orin.csv").open("w", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(("photo", "label", "latency_ms", "images_per_s"))
        table.writerows(
            (split.relative(photo), "Beet", 7 + index / 59, 140) for index, photo in enumerate(split.photos)
        )
    words = ["evaluate", copied.path, "--data", photos, "--answers", tmp_path / "orin.csv", "--device-name", ORIN]
    answer(*words, exit_code=3)
    return copied


def test_the_report_shows_the_device_in_both_languages(judged: Bundle, photos: Path, tmp_path: Path) -> None:
    for language, texts in TEXTS.items():
        page = tmp_path / "page.html" if language == "en" else None
        outputs = ReportFiles(page, markdown=tmp_path / f"{language}.md")
        write_report([judged], outputs, sources=Sources(photos), language=language)
        text = (tmp_path / f"{language}.md").read_text(encoding="utf-8")
        assert f"| {ORIN} | " in text
        for part in texts:
            assert part in text
        assert f"| {ORIN} | 60 | 7.50 | 7.95 | 140 |" in text
    page_text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page_text.count(ORIN) > 40  # under the photos with changed answers too


def test_a_device_is_never_shipped_and_not_in_the_header_of_the_card(judged: Bundle) -> None:
    facts = load_facts(judged, with_predictions=True)
    rows = summary_rows(facts)
    assert [row.verdict for row in rows] == ["REFERENCE", "FAIL"]
    conclusion = conclude(facts, rows)
    assert (conclusion.outcome, conclusion.to_ship) == ("UNKNOWN", None)
    assert ORIN in conclusion.statements[1].text
    assert bundle_charts(facts, conclusion.chosen).keys() >= {"flips-per-class", "confusion", "reliability"}
    assert bundle_charts(facts, rows[1]).keys() >= {"flips-per-class", "confusion", "reliability"}
    header, _, text = card_markdown(facts, Claims()).removeprefix("---").partition("---")
    assert "fp32 on ONNX Runtime" in header
    assert "answers" not in header
    assert ORIN in text
