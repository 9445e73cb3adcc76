from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vegrt.errors import VegrtError
from vegrt.infer.decode.item import Item
from vegrt.infer.decode.pipeline import Decoded
from vegrt.infer.outputs.codecs import table_file
from vegrt.infer.outputs.rows import AnswerRow, RowFormat, answer_rows, as_cells, as_line, as_record, column_names
from vegrt.infer.runtimes.runner import Answers

CLASSES = ("Beet", "Cress", "Kale")
LOGITS = np.array([[0.0, 2.0, 1.0], [0.1, 0.0, 0.0]], np.float32)


def rank(
    batch: Decoded, logits: NDArray[np.float32], classes: tuple[str, ...], row_format: RowFormat
) -> list[AnswerRow]:
    return answer_rows(batch, Answers(logits), classes, row_format)


def part(count: int, errors: dict[int, str]) -> Decoded:
    readable = [row for row in range(count) if row not in errors]
    images = np.zeros((len(readable), 2, 2, 3), np.uint8)
    return Decoded([Item(f"{row}.jpg", b"") for row in range(count)], readable, images, errors)


def test_probabilities_and_logits_of_the_best_classes() -> None:
    odds = np.exp(LOGITS[0].astype(float))
    first, bad, last = rank(part(3, {1: "gone"}), LOGITS, CLASSES, RowFormat(top_k=2))
    assert first.ranked == (("Cress", round(odds[1] / odds.sum(), 6)), ("Kale", round(odds[2] / odds.sum(), 6)))
    assert (first.label, bad.error, bad.label, bad.score, last.label) == ("Cress", "gone", "", None, "Beet")
    (only, _) = rank(part(2, {}), LOGITS, CLASSES, RowFormat(top_k=9, scores="logits"))
    assert only.ranked == (("Cress", 2.0), ("Kale", 1.0), ("Beet", 0.0))


def test_below_the_least_probability_the_label_is_unsure_and_the_best_class_stays() -> None:
    wanted = RowFormat(min_probability=0.5, scores="logits")  # the threshold is one of probability all the same
    sure, unsure = rank(part(2, {}), LOGITS, CLASSES, wanted)
    assert (sure.label, unsure.label) == ("Cress", "unsure")
    assert as_line(unsure, wanted) == "1.jpg\tunsure\t0.1000\tBeet"
    assert as_record(unsure, wanted) == {
        "path": "1.jpg",
        "label": "unsure",
        "logit": 0.1,
        "top_label": "Beet",
        "error": "",
    }
    with pytest.raises(VegrtError, match="called 'unsure' itself"):
        wanted.check(("unsure", "sure"))


def test_an_answer_that_is_not_finite_is_an_error_of_its_row() -> None:
    bad, good = rank(part(2, {}), np.array([[np.nan, 0, 0], [0, 0, 1]], np.float32), CLASSES, RowFormat())
    assert "not finite" in bad.error
    assert good.label == "Kale"


@pytest.mark.parametrize(
    "wanted", [RowFormat(), RowFormat(3), RowFormat(5, "logits", 0.2), RowFormat(2, min_probability=0.99)]
)
def test_cells_fit_their_columns_with_and_without_an_answer(wanted: RowFormat) -> None:
    names = column_names(wanted, 3)
    for row in rank(part(3, {0: "gone"}), LOGITS, CLASSES, wanted):
        cells = dict(zip(names, as_cells(row, wanted, 3), strict=True))
        assert (cells["path"], cells["error"]) == (row.path, row.error)
        assert cells.get("label_2", "") == (row.ranked[1][0] if row.ranked and wanted.top_k > 1 else "")


def test_one_line_whatever_is_in_names() -> None:
    row = AnswerRow("a\nb\tc\r.jpg", "x\ny", (("x\ny", 0.5),))
    assert as_line(row, RowFormat()) == "a\\nb\\tc\\r.jpg\tx\\ny\t0.5000"
    assert "\n" not in as_line(AnswerRow("a\n", error="one\ntwo"), RowFormat())


def test_no_cell_of_a_csv_is_a_formula_and_every_path_is_still_the_files(tmp_path: Path) -> None:
    starts = ("=cmd|' /C calc'!A1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\uff1d1")
    rows = [AnswerRow(f"{start}.jpg", start, ((start, 0.5), ("a=b", -0.5))) for start in starts]
    rows += [
        AnswerRow("=bad.jpg", error="=bad.jpg: no image"),
        AnswerRow("dir/=1.jpg", "Beet", (("Beet", 1.0), ("Kale", 0.0))),
    ]
    wanted = RowFormat(2, min_probability=0.1)
    table = table_file(tmp_path / "x.csv", wanted, 2)
    table.start()
    table.append(rows)
    with table.part.open(newline="", encoding="utf-8") as file:
        cells = list(csv.reader(file))[1:]
    assert not [cell for line in cells for cell in line if cell[:1] in "=+@\t\r\n\uff1d" and cell]
    for row, (path, label, *_, error) in zip(rows, cells, strict=True):
        assert Path(path) == Path(row.path)
        assert label.removeprefix("'") == row.label
        assert error.removeprefix("'") == row.error
    assert [name for name, _ in table.codec.scan(table.part)] == [table.codec.stored(row.path) for row in rows]
    assert cells[-1][0] == "dir/=1.jpg"
    exact = table_file(tmp_path / "x.jsonl", wanted, 2)
    exact.start()
    exact.append(rows)
    assert [name for name, _ in exact.codec.scan(exact.part)] == [row.path for row in rows]
    table.close()
    exact.close()
