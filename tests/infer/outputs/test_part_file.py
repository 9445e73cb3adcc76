"""Files that grow: whatever byte a kill tears them at, going on gives the file that one run would have made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vegrt.errors import VegrtError
from vegrt.infer.outputs.codecs import embedding_file, table_file
from vegrt.infer.outputs.files import OutputFiles, OutputOptions, open_outputs
from vegrt.infer.outputs.part_file import Codec, PartFile, check_writable
from vegrt.infer.outputs.rows import AnswerRow, RowFormat

ODD = 'a "quoted",\nname\r\nof \u2028 l\xedn\xebs.jpg'
ROWS = [
    AnswerRow("0.jpg", "Beet", (("Beet", 0.75), ("Kale", 0.25)), "", np.array([0.1, 1 / 3, 7], np.float32)),
    AnswerRow(ODD, "Kale", (("Kale", 1.0), ("Beet", 0.0)), "", np.ones(3, np.float32)),
    AnswerRow("2.jpg", error='2.jpg: no "image",\nreally'),
    AnswerRow("3.jpg", "Beet", (("Beet", 0.5), ("Kale", 0.5)), "", np.full(3, -2, np.float32)),
]
ROW_FORMAT = RowFormat(top_k=2, min_probability=0.1, embedding=True)
IDENTITY = {"variant": "int8", "top_k": 2}


def make(kind: str, folder: Path, stem: str = "x") -> PartFile[Codec]:
    """Return a file of one kind. kind: its suffix, after `embeddings` for embeddings in a file of their own."""
    suffix = kind.removeprefix("embeddings")
    out = folder / f"{stem}{suffix}"
    if kind.startswith("embeddings"):
        return embedding_file(out, 3)
    return table_file(out, ROW_FORMAT, 2)


KINDS = (".csv", ".jsonl", ".parquet", "embeddings.npy", "embeddings.parquet")


def whole(kind: str, folder: Path, stem: str = "x") -> tuple[bytes, bytes]:
    """Return the bytes of the complete file and those of its part before that."""
    file = make(kind, folder, stem)
    file.start()
    for row in ROWS:
        file.append([row])
    part = file.part.read_bytes()
    file.finish()
    file.close()
    assert not file.part.exists()
    return file.out.read_bytes(), part


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cut_anywhere_it_resumes_to_the_same_file(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    complete, part = whole(kind, tmp_path, "whole")
    file = make(kind, tmp_path, "torn")
    file.out.unlink(missing_ok=True)
    file.part.write_bytes(part[: data.draw(st.integers(0, len(part)), label="cut")])
    count = file.resume()
    assert 0 <= count <= len(ROWS)
    file.keep(count := data.draw(st.integers(0, count), label="kept"))
    for row in ROWS[count:]:
        file.append([row])
    file.finish()
    if kind.endswith(".parquet"):
        tables = [pyarrow.parquet.read_table(tmp_path / f"{name}.parquet") for name in ("torn", "whole")]
        assert tables[0].equals(tables[1])
    else:
        assert file.out.read_bytes() == complete


@pytest.mark.parametrize("kind", KINDS)
def test_a_complete_file_can_be_resumed(kind: str, tmp_path: Path) -> None:
    whole(kind, tmp_path)
    file = make(kind, tmp_path)
    assert file.resume() == len(ROWS)
    file.keep(len(ROWS))
    assert file.out.exists()
    file.append(ROWS[:1])
    file.finish()
    again = make(kind, tmp_path)
    assert again.resume() == len(ROWS) + 1
    again.close()


def test_an_unfinished_array_can_be_loaded(tmp_path: Path) -> None:
    file = make("embeddings.npy", tmp_path)
    file.start()
    file.append(ROWS[:3])
    with file.part.open("ab") as torn:
        torn.write(b"half a row")
    embeddings = np.load(file.part)
    assert np.array_equal(embeddings[0], np.array([0.1, 1 / 3, 7], np.float32))
    assert np.isnan(embeddings[2]).all()
    assert embeddings.shape == (3, 3)
    file.close()


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        (".csv", "path,label\n", "its columns are path, label"),
        (".csv", "HEAD0.jpg,Beet\n", "row 1 was not written by vegrt"),
        (".jsonl", '{"path": "0.jpg"}\n[]\n', "row 2 was not written by vegrt"),
        (".jsonl", "text\n", "row 1 was not written by vegrt"),
        ("embeddings.npy", "\x93NUMPY\x01\x00".ljust(200), "not an array written by vegrt"),
    ],
)
def test_a_strange_part_is_refused(kind: str, content: str, message: str, tmp_path: Path) -> None:
    file = make(kind, tmp_path)
    file.part.write_bytes(content.replace("HEAD", file.codec.head(0).decode("latin-1")).encode("latin-1"))
    with pytest.raises(VegrtError, match=message):
        file.resume()
    file.close()
    assert file.part.exists()  # whoever it belongs to


def test_a_full_disk_keeps_the_whole_batches(tmp_path: Path, file_size_limit: Callable[[int], None]) -> None:
    file = make(".csv", tmp_path)
    file.start()
    file.append(ROWS)
    size = file.part.stat().st_size
    file_size_limit(size + 20)
    with pytest.raises(VegrtError, match=r"x\.csv: writing failed \(.*\); 4 rows are kept in .*x\.csv\.part.*--resume"):
        file.append(ROWS)
    file.close()
    assert file.part.stat().st_size == size
    again = make(".csv", tmp_path)
    assert again.resume() == 4
    again.close()


def test_a_full_disk_before_the_first_row_leaves_nothing(
    tmp_path: Path, file_size_limit: Callable[[int], None]
) -> None:
    file = make(".csv", tmp_path)
    file_size_limit(5)
    with pytest.raises(VegrtError, match="nothing was left half-written"):
        file.start()
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_the_turn_to_parquet_keeps_the_part(
    tmp_path: Path, file_size_limit: Callable[[int], None]
) -> None:
    file = make(".parquet", tmp_path)
    file.start()
    file.append(ROWS)
    file_size_limit(100)
    with pytest.raises(VegrtError, match=r"x\.parquet: writing failed"):
        file.finish()
    file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet.part"]


def test_an_unwritable_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file/x.csv", Path("/proc/x.csv"), tmp_path):
        with pytest.raises(VegrtError, match="cannot be written"):
            check_writable(out)
    check_writable(tmp_path / "new/x.csv")
    assert list((tmp_path / "new").iterdir()) == []


def begun(
    out: Path, *, resume: bool, identity: dict[str, object] | None = None, embeddings: str = "", overwrite: bool = False
) -> OutputFiles:
    outputs = open_outputs(OutputOptions(out, embeddings, resume, overwrite), RowFormat(2), 2, 3)
    outputs.begin(identity or IDENTITY)
    return outputs


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_only_the_settings_in_the_note_resume_a_run(tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    first = begun(out, resume=False)
    first.append(ROWS[:2])
    first.close()
    assert left(tmp_path) == {"x.csv.part", "x.csv.run.json"}
    with pytest.raises(VegrtError, match=r"x\.csv\.part: written with different settings \(variant: int8, now fp32\)"):
        begun(out, resume=True, identity=IDENTITY | {"variant": "fp32"})
    second = begun(out, resume=True)
    assert [row.path in second.done for row in ROWS] == [True, True, False, False]
    second.append(ROWS[2:])
    second.finish()
    assert left(tmp_path) == {"x.csv", "x.csv.run.json"}  # who asked for resuming once may do so again
    third = begun(out, resume=True)
    assert len(third.done) == 4
    third.finish()


def test_a_finished_run_leaves_no_note_and_is_not_resumed(tmp_path: Path) -> None:
    whole_run = begun(tmp_path / "x.csv", resume=False)
    whole_run.append(ROWS)
    whole_run.finish()
    whole_run.close()
    assert left(tmp_path) == {"x.csv"}
    with pytest.raises(VegrtError, match=r"cannot resume: x\.csv\.run\.json is missing"):
        begun(tmp_path / "x.csv", resume=True)


def test_nothing_is_left_of_a_run_without_rows(tmp_path: Path) -> None:
    begun(tmp_path / "x.csv", resume=True).close()
    assert left(tmp_path) == set()


def test_rows_missing_in_one_file_are_cut_from_the_other(tmp_path: Path) -> None:
    out, vectors = tmp_path / "x.csv", tmp_path / "e.npy"
    run = begun(out, resume=False, embeddings=str(vectors))
    run.append(ROWS[:2])
    run.append(ROWS[2:])
    run.close()
    os.truncate(tmp_path / "x.csv.part", (tmp_path / "x.csv.part").stat().st_size - 1)
    again = begun(out, resume=True, embeddings=str(vectors))
    assert again.rows == 3
    again.append(ROWS[3:])
    again.finish()
    assert np.load(vectors).shape == (4, 3)


def test_earlier_rows_are_dropped_only_on_request(tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    old = begun(out, resume=False)
    old.append(ROWS)
    old.close()
    with pytest.raises(
        VegrtError, match=r"x\.csv\.part: holds the rows of an unfinished run; add --overwrite .*--resume"
    ):
        begun(out, resume=False)
    new = begun(out, resume=False, identity={"variant": "fp16"}, overwrite=True)
    new.append(ROWS[:1])
    new.finish()
    assert out.read_text().count("\n") == 2
    with pytest.raises(VegrtError, match=r"x\.csv: exists; add --overwrite to replace it$"):
        begun(out, resume=False)
    assert out.read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("to", "message"),
    [
        (OutputOptions(resume=True), "--resume: needs a file"),
        (OutputOptions(embeddings="column"), "--embeddings column: needs a file"),
        (OutputOptions(embeddings="x.txt"), r"--embeddings x\.txt: expected FILE\.npy"),
        (OutputOptions(Path("x.xlsx")), "suffix '.xlsx'"),
    ],
)
def test_destinations_that_make_no_sense(to: OutputOptions, message: str) -> None:
    with pytest.raises(VegrtError, match=message):
        to.check()
