"""Real processes that are killed, interrupted, or left without room: what was written stays, and the rest follows."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vegrt.bundle.bundle import Bundle

# SIGINT is ignored, by inheritance, where the tests run in the background
MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from vegrt.cli import main; main()"
RUNTIME = ["--variant", "fp32", "--runtime", "onnxruntime"]


def start(bundle: Bundle, *words: object, **how: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", MAIN, "infer", *map(str, words), "--bundle", str(bundle.path), *RUNTIME]
    pipes: dict[str, object] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **(pipes | how))  # type: ignore[call-overload,no-any-return]


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    for _ in range(2400):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("it never came")


def lines_of(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_after_a_kill_the_output_is_whole_and_resuming_adds_the_rest(
    bundle: Bundle, photos: Path, tmp_path: Path
) -> None:
    paths = sorted((photos / "test").rglob("*.jpg"))
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in paths))
    out, part = tmp_path / "out.csv", tmp_path / "out.csv.part"
    words = ["-o", out, "--top-k", 2, "--batch", 8, "--print", "--embeddings", tmp_path / "e.parquet"]
    process = start(bundle, "-", *words)
    assert process.stdin
    process.stdin.write("".join(f"{path}\n" for path in paths[:20]).encode())
    process.stdin.flush()  # and no more: it is killed while it waits for the rest of the list
    wait_until(lambda: lines_of(part) == 21, process)
    process.kill()
    process.communicate()
    assert [row["path"] for row in table(part)] == [str(path) for path in paths[:20]]
    with part.open("ab") as torn:
        torn.write(b'/photos/"torn')
    differs = start(bundle, tmp_path / "list.txt", "-o", out, "--top-k", 3, "--resume").communicate()[1].decode()
    assert "out.csv.part: written with different settings (top_k: 2, now 3; embeddings: " in differs
    resumed = start(bundle, tmp_path / "list.txt", *words, "--resume")
    printed, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    assert printed.count(b"\n") == len(paths) - 20
    assert b"20 rows exist already" in errors
    rows = table(out)
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert all(float(row["probability"]) >= float(row["probability_2"]) for row in rows)
    import pyarrow.parquet

    embeddings = pyarrow.parquet.read_table(tmp_path / "e.parquet").to_pylist()
    assert [row["path"] for row in embeddings] == [str(path) for path in paths]
    assert not part.exists()


def test_ctrl_c_says_how_to_resume(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    process = start(bundle, "-", "-o", tmp_path / "out.jsonl")
    assert process.stdin
    process.stdin.write(f"{photos}/test/Beet\n".encode())
    process.stdin.flush()
    wait_until(lambda: lines_of(tmp_path / "out.jsonl.part") == 20, process)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    errors = process.stderr.read().decode() if process.stderr else ""
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1].startswith("vegrt: interrupted; 20 rows are in ")
    assert errors.splitlines()[-1].endswith("out.jsonl.part; to resume, repeat the command with --resume")
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_following_a_folder_ends_with_complete_files(
    number: signal.Signals, bundle: Bundle, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "inbox").mkdir()
    process = start(bundle, tmp_path / "inbox", "--follow", "--print", "-o", tmp_path / "out.parquet")
    content = (photos / "test/Cress/000.jpg").read_bytes()
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / "inbox" / name).write_bytes(content)
        assert process.stdout
        assert f"{name}\tCress" in process.stdout.readline().decode()  # answered long before a batch is full
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    import pyarrow.parquet

    paths = pyarrow.parquet.read_table(tmp_path / "out.parquet")["path"].to_pylist()
    assert [Path(path).name for path in paths] == ["one.jpg", "two.jpg"]
    assert {path.name for path in tmp_path.iterdir()} == {"inbox", "out.parquet"}


def test_stdout_on_a_full_disk_is_one_line(bundle: Bundle, photos: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        process = start(bundle, photos / "test/Beet", stdout=full)
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.decode().splitlines()[-1].startswith("vegrt: stdout: writing failed (No space left on device)")
    assert b"Traceback" not in errors
