"""A report on more classes than a table lists: the worst on the page, all of them in CSV files beside it."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.report.conftest import draw_photos
from tests.result_files import inline
from vegrt.bundle.bundle import Bundle
from vegrt.report.html.blocks import section_of, sections_of, table_of
from vegrt.report.html.page import Article, page_html
from vegrt.report.write import ReportFiles, write_report
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import load_result, save_result
from vegrt.results.predictions import tables_of

CLASSES = ("=formula", *(f"class-{number:02}" for number in range(39)))
LONG = "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias"


@pytest.fixture
def bundle(tmp_path: Path, make: Callable[..., Bundle]) -> Bundle:
    draw_photos(tmp_path / "data", CLASSES, 3)
    return make(name="many", photos=tmp_path / "data", provenance=False, measured=False, noise={"int8-cpu": 3.0})


def test_the_worst_classes_are_listed_and_all_are_in_a_file(bundle: Bundle, tmp_path: Path) -> None:
    outputs = ReportFiles(tmp_path / "my report.html", tmp_path / "my.md")
    files = write_report([bundle], outputs)
    page, text = (path.read_text(encoding="utf-8") for path in (tmp_path / "my report.html", tmp_path / "my.md"))
    assert {file.name for file in files} == {"my report.html", "my report-classes.csv", "my.md", "my-classes.csv"}
    (link,) = re.findall(r'href="([^"]+\.csv)"', page)
    (md_link,) = re.findall(r"\(<([^>]+\.csv)>\)", text)
    assert [unquote(link), unquote(md_link)] == ["my report-classes.csv", "my-classes.csv"]
    with (tmp_path / unquote(link)).open(newline="", encoding="utf-8") as file:
        heading, *rows = csv.reader(file)
    assert heading[0] == "class"
    assert [row[0] for row in rows] == ["'=formula", *CLASSES[1:]]
    assert "The 30 of 40 classes with the lowest F1." in page
    listed = re.findall(r"^\| ((?:class-|=)[\w]+) \| 3 \|.*$", text, re.MULTILINE)
    f1 = {row[0].removeprefix("'"): float(row[5].split()[0].replace("–", "inf")) for row in rows}
    assert len(listed) == 30
    assert max(f1[name] for name in listed) <= min(f1[name] for name in CLASSES if name not in listed)
    assert "The 30 of 40 classes with the most mistakes." in page
    assert re.search(r'class="panels" style="--panel: 720px">\s*<div class="plot"[^>]*label="Confusion matrix', page)
    assert "top-5 %" in page


def test_long_names_of_rows_wrap_and_short_ones_do_not() -> None:
    table = table_of("caption", ("class", "photos"), [(LONG, "2"), ("int8-cpu/onnxruntime", "2")], text_columns=1)
    sections = sections_of(section_of("classes", "Results", table))
    page = page_html("title", [Article("name", sections)], source="a test")
    assert f'<th scope="row" class="long">{LONG}</th>' in page
    assert '<th scope="row">int8-cpu/onnxruntime</th>' in page


def test_a_report_does_not_depend_on_where_the_answers_are(bundle: Bundle, tmp_path: Path) -> None:
    evaluation = load_result(bundle, Evaluation, "evaluate-test")
    assert evaluation is not None
    assert len(inline(evaluation).paths) == 120
    texts = []
    for max_inline in (1000, 1):
        save_result(bundle, "evaluate-test", replace(evaluation), max_inline_photos=max_inline)
        write_report([bundle], ReportFiles(tmp_path / "report.html"))
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        texts.append(re.sub(r"and \d+ more, in results/\S+|Made by .* UTC", "", page))
    assert tables_of(bundle.path / "results/evaluate-test.json")
    assert texts[0] == texts[1]
