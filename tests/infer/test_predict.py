from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from tests.result_files import Results, inline
from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import DataError, VegrtError
from vegrt.evaluate.evaluate import evaluate
from vegrt.infer.decode.item import Item
from vegrt.infer.decode.pipeline import batches
from vegrt.infer.outputs.files import OutputOptions
from vegrt.infer.outputs.rows import RowFormat
from vegrt.infer.predict import Request, predict, run
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.onnxruntime.runner import BoundRunner, OnnxRuntimeRunner
from vegrt.infer.runtimes.onnxruntime.session import open_session
from vegrt.photo.preprocess import load_image


def lines(bundle: Bundle, *sources: Path, out: Path | None = None, as_json: bool = False, **more: object) -> list[str]:
    request = Request(sources, output=OutputOptions(out, printed=True), **more)  # type: ignore[arg-type]
    printed: list[str] = []
    run(bundle.path, request, printed.append, as_json=as_json)
    return "".join(printed).splitlines()


def test_one_line_per_image_and_the_same_answers_as_evaluation(bundle: Bundle, photos: Path, test_split: Split) -> None:
    evaluation = evaluate(bundle, test_split, [Candidate("fp32", "onnxruntime")], margin=0.5)
    expected = [bundle.manifest.classes[top1] for top1 in inline(evaluation).candidates["fp32/onnxruntime"].top1]
    rows = [line.split("\t") for line in lines(bundle, photos / "test", variant="fp32", runtime="onnxruntime")]
    assert [label for _, label, _ in rows] == expected
    assert [path for path, _, _ in rows] == [str(photo.path) for photo in test_split.photos]


def test_one_bad_image_costs_one_line_and_order_is_kept(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02d}.jpg").write_bytes((photos / f"test/Beet/{number:03d}.jpg").read_bytes())
    (tmp_path / "07.jpg").write_text("text")
    (tmp_path / "13.jpg").write_bytes(b"")
    printed = lines(bundle, tmp_path)
    assert len(printed) == 20
    assert [number for number, line in enumerate(printed) if "\terror\t" in line] == [7, 13]
    assert all(line.startswith(str(tmp_path / f"{number:02d}.jpg")) for number, line in enumerate(printed))


def test_a_runner_that_works_on_two_batches_at_once_gives_the_same_rows(
    bundle: Bundle, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_text("text")
    paths = sorted(photos.glob("test/*/*.jpg"))
    paths[20:20] = [tmp_path / "bad.jpg"] * 9
    items = [Item(str(path), path) for path in paths]
    session = open_session(bundle.file("model", "fp32"))
    plain, overlapping = (
        [row for rows in predict(bundle, runner, iter(items), RowFormat(), batch=8) for row in rows]
        for runner in (OnnxRuntimeRunner(session, "cpu"), BoundRunner(session, None))
    )
    assert [(row.path, row.label, row.error) for row in overlapping] == [
        (row.path, row.label, row.error) for row in plain
    ]
    assert [row.path for row in overlapping] == [str(path) for path in paths]


def test_odd_files_with_names_of_images_cost_one_line_each(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    content = (photos / "test/Beet/000.jpg").read_bytes()
    (tmp_path / "new\nline.jpg").write_bytes(content)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.jpg")).write_bytes(content)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    printed = lines(bundle, tmp_path, out=tmp_path / "out.jsonl")
    assert len(printed) == 4
    assert sum("\terror\t" in line for line in printed) == 2  # the broken link and the pipe
    assert any("new\\nline.jpg" in line for line in printed)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert any("\\xff\\xfe.jpg" in row["path"] for row in rows)


def test_the_three_file_formats_hold_the_same(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl", "parquet"):
        lines(bundle, photos / "test/Cress", out=tmp_path / f"out.{suffix}")
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    with (tmp_path / "out.csv").open(newline="") as file:
        texts = list(csv.DictReader(file))
    assert table == rows
    assert len(table) == 20
    assert [{**row, "probability": str(row["probability"])} for row in rows] == texts


def test_json_is_one_object_that_names_what_ran(bundle: Bundle, photos: Path) -> None:
    (text,) = lines(bundle, photos / "test/Beet", as_json=True, variant="int8-cpu", runtime="openvino")
    answer = json.loads(text)
    assert (answer["variant"], answer["runtime"], len(answer["predictions"])) == ("int8-cpu", "openvino", 20)


def test_impossible_requests_are_refused_before_any_work(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        lines(bundle, tmp_path / "none")
    with pytest.raises(DataError, match="no images"):
        lines(bundle, tmp_path)
    with pytest.raises(VegrtError, match=r"\.csv, \.jsonl, \.parquet"):
        lines(bundle, photos / "test", out=tmp_path / "out.xlsx")
    (tmp_path / "only.jpg").write_text("text")
    with pytest.raises(DataError, match=r"only\.jpg: not a photo"):
        lines(bundle, tmp_path / "only.jpg")


def test_the_number_of_photos_decides_and_a_resumed_run_keeps_its_model(
    copied: Bundle, photos: Path, tmp_path: Path
) -> None:
    exact, int8 = Candidate("fp32", "onnxruntime"), Candidate("int8-cpu", "onnxruntime")
    results = Results(copied)
    results.evaluated({int8: "PASS"})
    results.timed({exact: 9.0, int8: 1.0}, first_answers_s={exact: 0.5, int8: 0.6})
    shutil.copytree(photos / "test/Beet", tmp_path / "many")
    (tmp_path / "single").mkdir()
    shutil.copy(photos / "test/Beet/000.jpg", tmp_path / "single")

    def variant(folder: str, out: str = "", **more: Any) -> str:
        output = OutputOptions(tmp_path / out if out else None, resume=bool(out))
        printed: list[str] = []
        run(copied.path, Request((tmp_path / folder,), output=output, **more), printed.append, as_json=True)
        return str(json.loads("".join(printed))["variant"])

    assert [variant("single"), variant("many")] == ["fp32", "int8-cpu"]
    assert variant("single", objective="latency") == "int8-cpu"
    assert variant("single", "out.csv") == "fp32"
    shutil.copytree(photos / "test/Beet", tmp_path / "single", dirs_exist_ok=True)
    assert variant("single", "out.csv") == "fp32"
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + len([*(photos / "test/Beet").iterdir()])


def test_the_pipeline_gives_every_image_once_in_order_for_any_batch_size(bundle: Bundle, test_split: Split) -> None:
    paths = [photo.path for photo in test_split.photos[:23]]
    contract = bundle.manifest.contract
    for size in (1, 4, 23, 64):
        parts = list(batches(paths, contract, size))
        assert [index for batch in parts for index in batch.indices] == list(range(23))
        assert max(len(batch.indices) for batch in parts) == min(size, 23)
        rows = [row for batch in parts for row in batch.images]
        assert all((row == load_image(path, contract)).all() for row, path in zip(rows, paths, strict=True))
