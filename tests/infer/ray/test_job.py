"""The Ray job, on a Ray of two workers that it starts itself: the answers of one machine, whatever the images are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from vegrt.bundle.bundle import Bundle
from vegrt.errors import DataError, VegrtError
from vegrt.infer.decode.item import Item
from vegrt.infer.outputs.files import OutputOptions
from vegrt.infer.outputs.photos import PhotoOutputs
from vegrt.infer.outputs.rows import RowFormat
from vegrt.infer.predict import Request, run
from vegrt.infer.ray.job import output_folder, output_location, run_ray, vegrt_error_of
from vegrt.infer.ray.worker import item_of, names_of
from vegrt.infer.sources.open import SourceOptions, open_sources

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="pip install 'vegrt[ray]'")


@pytest.fixture(scope="module")
def mixed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """53 photos, three things that are none, and a name of odd bytes."""
    folder = tmp_path_factory.mktemp("mixed")
    for number, photo in enumerate(sorted((photos / "test").rglob("*.jpg"))[:53]):
        shutil.copy(photo, folder / f"{number:02d}.jpg")
    (folder / "07.jpg").write_text("text")
    (folder / "30.jpg").write_bytes(b"")
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    shutil.copy(folder / "00.jpg", folder / os.fsdecode(b"\xff.jpg"))
    return folder


def test_only_a_folder_of_parquet_files_is_replaced_and_only_if_that_is_said(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    to = OutputOptions(out, overwrite=True)
    with output_folder(str(out)) as folder:
        Path(folder, "1.parquet").write_text("old")
    refused(
        r"out\.parquet: exists; add --overwrite", lambda: output_location(Request(("x",), output=OutputOptions(out)))
    )
    assert output_location(Request(("x",), output=to)) == str(out)
    with output_folder(str(out)) as folder:
        Path(folder, "2.parquet").write_text("new")
        assert [path.name for path in out.iterdir()] == ["1.parquet"]
    assert [path.name for path in out.iterdir()] == ["2.parquet"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    (out / "photo.jpg").touch()
    refused("not a folder of Parquet files only", lambda: output_location(Request(("x",), output=to)))


BROKEN = DataError("broken: for a reason")
WARNS = "import warnings; warnings.simplefilter('error'); from vegrt.cli import main; main()"


def test_a_job_of_two_workers_gives_the_rows_of_one_machine_in_order(
    bundle: Bundle, mixed: Path, tmp_path: Path
) -> None:
    """As a process of its own, warnings being errors: Ray stays in a process that had it, and must leave none behind."""
    words = ["infer", str(mixed), f"file://{mixed}/00.jpg", "--bundle", str(bundle.path), "--runtime", "onnxruntime"]
    words += ["--top-k", "2", "--threads", "1", "--variant", "fp32"]
    ray = [*words, "--engine", "ray", "--workers", "2", "--json", "-o", f"file://{tmp_path}/ray.parquet"]
    done = subprocess.run([sys.executable, "-c", WARNS, *ray], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    messages = [line for line in done.stderr.splitlines() if "core_worker.cc" not in line]  # of Ray's own, issue 53727
    assert all(line.startswith("vegrt: ") for line in messages), done.stderr
    summary = json.loads(done.stdout)
    assert (summary["images"], summary["errors"], summary["workers"]) == (56, 3, 2)
    sources = (str(mixed), f"file://{mixed}/00.jpg")
    local = tmp_path / "local.parquet"
    request = Request(
        sources, "fp32", "onnxruntime", threads=1, row_format=RowFormat(top_k=2), output=OutputOptions(local)
    )
    run(bundle.path, request, print, as_json=False)
    local_table, ray_table = (pyarrow.parquet.read_table(path) for path in (local, tmp_path / "ray.parquet"))
    assert ray_table.schema.names == local_table.schema.names
    assert ray_table.schema.types == local_table.schema.types
    assert len(list((tmp_path / "ray.parquet").iterdir())) == 4  # two workers, two files each: the work was shared out
    for mine, theirs in zip(ray_table.to_pylist(), local_table.to_pylist(), strict=True):
        numbers = [mine.pop(name) for name in ("probability", "probability_2")]
        expected = [theirs.pop(name) for name in ("probability", "probability_2")]
        assert mine == theirs
        assert numbers == (expected if None in expected else pytest.approx(expected, abs=1e-5))


def refused(match: str, call: Callable[[], Any]) -> None:
    with pytest.raises(VegrtError, match=match):
        call()


def test_what_a_job_cannot_do_is_said_before_ray_starts(bundle: Bundle, mixed: Path, tmp_path: Path) -> None:
    to = OutputOptions(tmp_path / "out.parquet")
    requests = {
        r"add -o NAME\.parquet": Request((mixed,)),
        r"not .*out\.csv": Request((mixed,), output=OutputOptions(tmp_path / "out.csv")),
        "--resume: not supported with": Request((mixed,), output=OutputOptions(to.out, resume=True)),
        "--print: not supported with": Request((mixed,), output=OutputOptions(to.out, printed=True)),
        "--overwrite: only for a local folder": Request(
            (mixed,), output=OutputOptions(Path("s3://b/x.parquet"), overwrite=True)
        ),
        "--sort-into: not supported with": Request(
            (mixed,), output=to, photo_outputs=PhotoOutputs(sort_into=tmp_path / "sorted")
        ),
        "--follow: not supported with": Request((mixed,), output=to, reading=SourceOptions(follow=True)),
        "--decode processes: not supported with": Request((mixed,), output=to, decode="processes"),
        "--decode-workers: not supported with": Request((mixed,), output=to, decode_workers=2),
        "no such file": Request((mixed / "none",), output=to),
        "camera:0: never ends": Request((mixed, "camera:0"), output=to),
        "rtsp://localhost/x: cannot be listed": Request(("rtsp://localhost/x",), output=to),
    }
    for match, request in requests.items():
        refused(match, partial(run_ray, bundle.path, request))
    for name in ("photos.zip", "photos.tar.gz", "clip.mp4"):
        (tmp_path / name).write_bytes(b"nothing that could be opened")
        refused(f"{name}: .*unpack archives", partial(run_ray, bundle.path, Request((tmp_path / name,), output=to)))
    assert "ray" not in sys.modules
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("out", "place"),
    [
        ("s3://bucket/a/out.parquet", "s3://bucket/a/out.parquet"),
        ("file:///folder/out.parquet", "file:///folder/out.parquet"),
        ("folder/out.parquet", "folder/out.parquet"),
        ("/out.parquet", "/out.parquet"),
    ],
)
def test_a_url_survives_being_a_path(out: str, place: str) -> None:
    assert output_location(Request(("x",), output=OutputOptions(Path(out)))) == place


def test_workers_find_what_the_job_named(mixed: Path) -> None:
    items = [item for item in open_sources([mixed, f"file://{mixed}/00.jpg"], SourceOptions()) if item is not None]
    table = names_of([*items, Item("broken", BROKEN)])
    rows = [item_of(*row.values()) for row in table.to_pylist()]
    assert [row.name for row in rows] == [item.name for item in [*items, Item("broken", BROKEN)]]
    assert [row.content for row in rows[:-2]] == [item.content for item in items[:-1]]
    assert callable(rows[-2].content)
    assert rows[-2].content() == (mixed / "00.jpg").read_bytes()
    assert str(rows[-1].content) == "broken: for a reason"
    assert "cannot be listed" in str(item_of("file:///none/there.jpg", None, "").content)


def test_no_more_is_taken_after_what_cannot_be_distributed(mixed: Path) -> None:
    items = iter([Item("a", mixed / "00.jpg"), Item("x.zip!/a.jpg", b"bytes"), Item("x.zip!/b.jpg", b"more")])
    refused(r"x\.zip!/a\.jpg: --engine ray distributes", partial(names_of, items))
    assert next(items).name == "x.zip!/b.jpg"


def test_a_workers_error_is_told_as_it_was() -> None:
    class Wrapped(Exception):
        def __init__(self, cause: Exception) -> None:
            super().__init__("wrapped")
            self.cause = cause

    ours, outer = DataError("fp32.onnx: damaged"), RuntimeError("outer")
    outer.__cause__ = ours
    assert vegrt_error_of(Wrapped(outer)) is ours
    assert vegrt_error_of(Wrapped(RuntimeError("x"))).args == ("ray: the job failed (wrapped)",)
