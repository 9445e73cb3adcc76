"""`vegrt infer` with its options, in this process."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from tests.command_line import call
from vegrt.bundle.bundle import Bundle

PHOTO = "test/Beet/000.jpg"
EMBEDDING = 96  # numbers per embedding of the small network


def infer(bundle: Bundle, *words: object, stdin: bytes | None = None) -> Result:
    fp32 = ("--variant", "fp32", "--runtime", "onnxruntime")
    return call("infer", *words, "--bundle", bundle.path, *fp32, stdin=stdin)


def test_all_sources_in_one_call_keep_their_order(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(photos / PHOTO, "inner/a.jpg")
    (tmp_path / "list.txt").write_text(f"{photos / PHOTO}\n{tmp_path}/none.jpg\n")
    words = (photos / PHOTO, tmp_path / "z.zip", tmp_path / "list.txt", "-", f"{photos}/test/*/001.jpg")
    result = infer(bundle, *words, "-0", stdin=f"{photos / PHOTO}\0".encode())
    errors = [line.count("\terror\t") for line in result.stdout.splitlines()]
    assert errors == [0, 0, 1] + [0] * 4  # -0: the list is one name
    result = infer(bundle, *words, stdin=f"{photos / PHOTO}\n".encode())
    assert result.exit_code == 0, result.output
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [name for name, *_ in lines] == [
        *(str(photos / PHOTO), f"{tmp_path}/z.zip!/inner/a.jpg", str(photos / PHOTO), f"{tmp_path}/none.jpg"),
        *(str(photos / PHOTO), *(f"{photos}/test/{name}/001.jpg" for name in ("Beet", "Cress", "Eggplant"))),
    ]
    assert lines[0][1:] == lines[1][1:] == lines[4][1:]
    assert lines[3][1:] == ["error", f"{tmp_path}/none.jpg: no such file"]


def test_json_with_everything(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("text")
    words = [photos / PHOTO, tmp_path / "bad.jpg", "--json", "--top-k", 9, "--scores", "logits", "--batch", "auto"]
    more = ("--min-probability", 1, "--embeddings", "column", "-o", tmp_path / "o.jsonl", "--print")
    result = infer(bundle, *words, *more)
    body = json.loads(result.stdout)
    assert set(body) == {"bundle", "variant", "runtime", "predictions"}
    good, bad = body["predictions"]
    assert (good["label"], len(good["top_k"]), good["top_k"][0]["label"]) == ("unsure", 3, good["top_label"])
    assert good["logit"] == good["top_k"][0]["logit"]
    assert len(good["embedding"]) == EMBEDDING
    assert (bad["label"], bad["logit"], bad["top_k"], bad["embedding"]) == ("", None, [], None)
    assert [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()] == [good, bad]


def test_json_stays_one_object_when_the_disk_is_full(
    bundle: Bundle, photos: Path, tmp_path: Path, file_size_limit: Callable[[int], None]
) -> None:
    file_size_limit(1000)
    result = infer(bundle, photos / "test/Beet", "--json", "--batch", 4, "--print", "-o", tmp_path / "o.csv")
    assert result.exit_code == 1
    rows = (tmp_path / "o.csv.part").read_text().splitlines()
    assert 4 <= len(json.loads(result.stdout)["predictions"]) == len(rows) - 1 < 20
    (line,) = [line for line in result.stderr.splitlines() if "writing failed" in line]
    assert f"{len(rows) - 1} rows are kept in {tmp_path}/o.csv.part" in line


def test_unwritable_places_are_reported_before_the_bundle_is_opened(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for option, value in (
        ("-o", "file/x.csv"),
        ("--embeddings", "file/x.npy"),
        ("--sort-into", "file/x"),
        ("--annotate", "file"),
    ):
        result = call("infer", photos / PHOTO, "--bundle", "none", option, tmp_path / value)
        assert result.exit_code == 1
        assert "cannot be written" in result.stderr


def test_sorting_and_annotating_may_be_repeated(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    words = [photos / "test/Beet", "--sort-into", tmp_path / "sorted", "--annotate", tmp_path / "seen", "--batch", 8]
    for _ in range(2):  # the second time everything is there already
        assert infer(bundle, *words).exit_code == 0
        assert len(list((tmp_path / "sorted").glob("*/*"))) == 20
        assert len(list((tmp_path / "seen").iterdir())) == 20
    (target,) = (tmp_path / "sorted").glob("*/000.jpg")
    assert target.samefile(photos / "test/Beet/000.jpg")


def test_resuming_adds_new_photos_or_nothing(
    bundle: Bundle, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "o.csv"
    for source, rows in ((photos / "test/Beet", 20), (photos / "test/Beet", 20), (photos / "test", 60)):
        result = infer(bundle, source, "-o", out, "--resume")
        assert result.exit_code == 0, result.output
        assert out.read_text().count("\n") == rows + 1
    assert "nothing new" in caplog.text


def test_with_a_file_nothing_is_printed_unless_it_is_asked_for(
    bundle: Bundle, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "bad.jpg").write_text("text")
    out = tmp_path / "o.csv"
    words = [photos / "test/Beet", tmp_path / "bad.jpg", "-o", out]
    silent = infer(bundle, *words)
    assert (silent.exit_code, silent.stdout) == (0, "")
    assert f"{out}: 21 rows written, 1 of them errors; 21 rows in total" in caplog.text
    before = out.read_bytes()
    refused = infer(bundle, *words)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"{out}: exists; add --overwrite to replace it" in refused.stderr
    assert out.read_bytes() == before
    printed = infer(bundle, *words, "--overwrite", "--print")
    assert printed.stdout.count("\n") == 21
    assert out.read_bytes() == before
    summary = json.loads(infer(bundle, *words, "--overwrite", "--json").stdout)
    assert summary == {
        **{"bundle": str(bundle.path), "variant": "fp32", "runtime": "onnxruntime", "out": str(out)},
        **{"embeddings": None, "images": 21, "errors": 1, "rows": 21},
    }
    assert "one continues the file that the other replaces" in infer(bundle, *words, "--overwrite", "--resume").stderr
    (tmp_path / "e.npy").touch()
    assert "e.npy: exists" in infer(bundle, photos / PHOTO, "--embeddings", tmp_path / "e.npy").stderr


def test_wrong_usage(bundle: Bundle, photos: Path) -> None:
    for words in (["--batch", "many"], ["--batch", 0], ["--top-k", 0], ["--min-probability", 2], ["--scores", "x"]):
        assert infer(bundle, photos / PHOTO, *words).exit_code == 2
    result = infer(bundle, photos / PHOTO, "--embeddings", "column")
    assert "needs a file" in result.stderr


def test_embeddings_in_rows_of_the_output(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("text")
    result = infer(
        bundle, tmp_path / "bad.jpg", photos / "test/Cress", "--embeddings", tmp_path / "e.npy", "--batch", 7
    )
    assert result.exit_code == 0
    embeddings = np.load(tmp_path / "e.npy")
    assert embeddings.shape == (21, EMBEDDING)
    assert np.isnan(embeddings[0]).all()
    assert np.isfinite(embeddings[1:]).all()


def test_the_former_name_of_bundle_works_and_names_the_new_one(
    bundle: Bundle, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["infer", photos / PHOTO, "--variant", "fp32", "--runtime", "onnxruntime"]
    former = call(*words, "--model", bundle.path)
    assert caplog.messages[0] == "--model is now called --bundle; --model will be removed in the next version"
    assert former.stdout == infer(bundle, photos / PHOTO).stdout
    assert "--model" not in call("infer", "--help").stdout
    both = call(*words, "--model", bundle.path, "--bundle", bundle.path)
    assert both.exit_code == 1
