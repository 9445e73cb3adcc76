"""A kill at every moment, without one: a folder is copied before each change that a run makes, and each copy is gone on with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from vegrt.errors import VegrtError
from vegrt.infer.outputs.files import OutputFiles, OutputOptions, open_outputs
from vegrt.infer.outputs.part_file import Codec, PartFile
from vegrt.infer.outputs.rows import AnswerRow, RowFormat
from vegrt.infer.outputs.run_note import OutputLock

MINE = {"variant": "int8"}
OTHERS = {"variant": "fp16"}
KINDS = ((".csv", ""), (".jsonl", ".npy"), (".parquet", ".parquet"))
CHANGES = ("open", "os.rename", "os.remove", "os.truncate")

Folder = dict[str, bytes]
_changing: list[Callable[[str], None]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _changing and event in CHANGES:
        _changing[0](event)


sys.addaudithook(_hook)


def row(name: str, number: int) -> AnswerRow:
    return AnswerRow(name, "Beet", (("Beet", 0.5),), "", np.full(3, number, np.float32))


ROWS = [row(f"={number}.jpg", number) for number in range(4)]
STALE = [row(f"old-{number}.jpg", -1) for number in range(5)]


def contents(folder: Path) -> Folder:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def torn_at(name: str, before: Folder, now: Folder) -> Folder:
    """Return `now` with the half only of what was written to a file since."""
    old, new = before.get(name, b""), now[name]
    length = len(old) if new.startswith(old) else 0
    return now if len(new) == len(old) else {**now, name: new[: length + (len(new) - length) // 2]}


@contextmanager
def moments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Folder]]:
    """Yield a list to which each state of `folder` comes that a run within the block leads through, torn writes included."""
    states: list[Folder] = []
    before = [contents(folder)]
    last = [""]

    def look(event: str) -> None:
        _changing.clear()  # looking changes nothing
        now = contents(folder)
        torn = [] if last[0] == "os.rename" else [torn_at(name, before[0], now) for name in now]
        states.extend(state for state in (*torn, now) if state not in states)
        before[0], last[0] = now, event
        _changing.append(look)

    write, update_head = PartFile.write, PartFile.update_head

    def torn_write(self: PartFile[Codec], content: bytes) -> None:
        for piece in (content[: len(content) // 2], content[len(content) // 2 :]):
            write(self, piece)
            look("write")

    def late(self: PartFile[Codec]) -> None:
        if self.codec.counts_in_head:
            look("write")
        update_head(self)

    with monkeypatch.context() as patch:
        patch.setattr(PartFile, "write", torn_write)
        patch.setattr(PartFile, "update_head", late)
        _changing.append(look)
        try:
            yield states
        finally:
            look("")
            _changing.clear()


def run(to: OutputOptions, identity: dict[str, str], rows: list[AnswerRow]) -> None:
    outputs: OutputFiles = open_outputs(to, RowFormat(), 2, 3)
    try:
        to.check()
        outputs.begin(identity)
        for row in rows:
            if not outputs.holds(row.path):
                outputs.append([row])
        outputs.finish()
    finally:
        outputs.close()


def failure(to: OutputOptions, identity: dict[str, str], rows: list[AnswerRow]) -> str:
    """Return why going on is refused; empty where it is not."""
    try:
        run(to, identity, rows)
    except VegrtError as error:
        return str(error)
    return ""


def destination(folder: Path, kind: tuple[str, str], **how: bool) -> OutputOptions:
    return OutputOptions(folder / f"x{kind[0]}", str(folder / f"e{kind[1]}") if kind[1] else "", **how)


def rows_in(to: OutputOptions) -> tuple[list[str], list[float] | None]:
    """Return the table's paths, and the first number of each embedding."""
    assert to.out
    if to.out.suffix == ".csv":
        names = [line.split(",")[0].removeprefix("./") for line in to.out.read_text().splitlines()[1:]]
    elif to.out.suffix == ".jsonl":
        names = [json.loads(line)["path"] for line in to.out.read_text().splitlines()]
    else:
        names = pyarrow.parquet.read_table(to.out)["path"].to_pylist()
    if (file := to.embeddings_file) is None:
        return names, None
    if file.suffix == ".npy":
        return names, np.load(file)[:, 0].tolist()
    table = pyarrow.parquet.read_table(file)
    assert table["path"].to_pylist() == names
    return names, [numbers[0] for numbers in table["embedding"].to_pylist()]


def expected(rows: list[AnswerRow], to: OutputOptions) -> tuple[list[str], list[float] | None]:
    numbers = [float(row.embedding[0]) for row in rows if row.embedding is not None]
    return [row.path for row in rows], numbers if to.embeddings else None


def restored(state: Folder, folder: Path) -> Path:
    folder.mkdir()
    for name, content in state.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_run_killed_anywhere_can_be_resumed(
    kind: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work := tmp_path / "work").mkdir()
    with moments(work, monkeypatch) as states:
        run(destination(work, kind), MINE, ROWS)
    assert len(states) > 15
    for number, state in enumerate(states[:-1]):  # the last one is complete, and without its note of unknown make
        to = destination(restored(state, tmp_path / str(number)), kind, resume=True)
        run(to, MINE, ROWS)
        assert rows_in(to) == expected(ROWS, to), state
        extra = {f"e{kind[1]}"} if kind[1] else set()
        assert set(contents(tmp_path / str(number))) == {f"x{kind[0]}", f"x{kind[0]}.run.json"} | extra, state


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_kill_while_a_complete_file_is_resumed_loses_no_row(
    kind: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sources of the second run are others: what it loses of the first one's rows nobody makes again."""
    (work := tmp_path / "work").mkdir()
    run(destination(work, kind, resume=True), MINE, ROWS[:2])
    with moments(work, monkeypatch) as states:
        run(destination(work, kind, resume=True), MINE, ROWS[2:])
    assert len(states) > 10
    for number, state in enumerate(states):
        to = destination(restored(state, tmp_path / str(number)), kind, resume=True)
        run(to, MINE, ROWS[2:])
        assert rows_in(to) == expected(ROWS, to), state


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("noted", [False, True])
def test_a_kill_while_a_file_is_overwritten_never_mixes_old_and_new_rows(
    kind: tuple[str, str], noted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever goes on then, with the new run or with the old one, has its rows alone, all of them, or is refused."""
    (work := tmp_path / "work").mkdir()
    run(destination(work, kind, resume=noted), OTHERS, STALE)
    with moments(work, monkeypatch) as states:
        run(destination(work, kind, overwrite=True), MINE, ROWS)
    gone_on = 0
    for number, state in enumerate(states):
        folder = restored(state, tmp_path / str(number))
        to = destination(folder, kind, resume=True)
        message = failure(to, MINE, ROWS)
        if not message:
            gone_on += 1
            assert rows_in(to) == expected(ROWS, to), state
            continue
        # before it has noted that it may, and after all is done
        assert any(words in message for words in ("written with different settings", "run.json is missing"))
        answers = [name for name in state if name in (f"x{kind[0]}", f"e{kind[1]}")]
        assert all(contents(folder)[name] == state[name] for name in answers)
        assert rows_in(to) in (expected(STALE, to), expected(ROWS, to))
    for number, state in enumerate(states):
        to = destination(restored(state, tmp_path / f"old-{number}"), kind, resume=True)
        if not failure(to, OTHERS, STALE[:1]) and f"x{kind[0]}" in state:
            assert rows_in(to) == expected(STALE if noted else STALE[:1], to), state
    assert gone_on > len(states) / 2


def test_files_left_by_version_0_1_0_are_resumed(tmp_path: Path) -> None:
    to = destination(tmp_path, (".jsonl", ""), resume=True)
    (tmp_path / "x.jsonl.part").touch()  # killed before its first row: no note, nothing to lose
    run(to, MINE, ROWS)
    assert rows_in(to) == expected(ROWS, to)
    (tmp_path / "x.jsonl.run.json").write_text(json.dumps(MINE))
    (tmp_path / "x.jsonl.part").touch()  # and the complete file is not forgotten for it
    run(to, MINE, STALE)
    assert rows_in(to) == expected(ROWS + STALE, to)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '"x"', "[" * 100_000, '{"state": 7}', '{"state": []}', "\xff"])
def test_any_damage_of_a_note_is_one_line(text: str, tmp_path: Path) -> None:
    to = destination(tmp_path, (".csv", ""), resume=True)
    (tmp_path / "x.csv.run.json").write_text(text, encoding="latin-1")
    (tmp_path / "x.csv").write_text("path,label,probability,error\n")
    with pytest.raises(VegrtError, match=r"cannot resume: x\.csv\.run\.json is missing"):
        run(to, MINE, ROWS)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_file_of_another_program_is_refused_in_one_line(suffix: str, tmp_path: Path) -> None:
    to = destination(tmp_path, (suffix, ""), resume=True)
    for content in (
        b'path,label,probability,error\n"a"b,c\nd,e,1,\n',
        b'{"path": 7}\n',
        b"\xff\xfe\n",
        b"[" * 99_999 + b"\n",
    ):
        (tmp_path / f"x{suffix}").write_bytes(content)
        (tmp_path / f"x{suffix}.run.json").write_text(json.dumps({**MINE, "state": "complete"}))
        with pytest.raises(VegrtError, match="--overwrite"):
            run(to, MINE, ROWS)
        assert (tmp_path / f"x{suffix}").read_bytes() == content
        (tmp_path / f"x{suffix}.part").unlink(missing_ok=True)


def test_one_process_at_a_time_writes_an_output(tmp_path: Path) -> None:
    first, second = OutputLock(tmp_path / "x.csv"), OutputLock(tmp_path / "x.csv")
    first.take()
    with pytest.raises(VegrtError, match=r"x\.csv: another process writes it"):
        second.take()
    first.release()
    second.take()
    second.release()
    assert not list(tmp_path.iterdir())
    (tmp_path / "x.csv.lock").touch()  # a killed process leaves it, and the system its lock to nobody
    first.take()
    first.release()


def test_a_second_run_changes_nothing_of_the_first(tmp_path: Path) -> None:
    to = destination(tmp_path, (".csv", ".npy"))
    outputs = open_outputs(to, RowFormat(), 2, 3)
    outputs.begin(MINE)
    outputs.append(ROWS[:2])
    before = contents(tmp_path)
    for how in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(VegrtError, match="another process writes it"):
            run(destination(tmp_path, (".csv", ".npy"), **how), MINE, ROWS)
        assert contents(tmp_path) == before
    outputs.append(ROWS[2:])
    outputs.finish()
    assert rows_in(to) == expected(ROWS, to)
    assert not set(contents(tmp_path)) - {"x.csv", "e.npy"}
