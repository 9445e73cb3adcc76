"""Bundles that are changed by processes which are killed, or by several at once, or whose change was never finished."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vegrt.bundle.bundle import find_bundles, open_bundle
from vegrt.bundle.change import changing, exclusive
from vegrt.bundle.entries import COMMIT, MANIFEST
from vegrt.bundle.manifest import Manifest
from vegrt.bundle.pack import pack, unpack
from vegrt.errors import BundleError
from vegrt.files.locking import locked, take_lock
from vegrt.photo.contract import Contract
from vegrt.results.analysis import Curve
from vegrt.results.common import ArtifactRow
from vegrt.results.files import save_result
from vegrt.results.header import header_fields

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/slow/changes.py"


def write(path: Path, content: str, *names: str) -> None:
    with changing(path) as staging:
        for name in ("weights.safetensors", *names):
            staging.file(name).write_text(content)
            staging.add(name, "engine" if names and name in names else "weights")
        staging.finish(Manifest("m", ("a", "b"), Contract(), {}))


def contents(path: Path, *, verify: bool = True) -> dict[str, str]:
    bundle = open_bundle(path, verify=verify)
    return {artifact.path: bundle.path_of(artifact.path).read_text() for artifact in bundle.manifest.artifacts}


def everything(folder: Path) -> list[tuple[str, int, int]]:
    states = ((path, path.lstat()) for path in [folder, *folder.rglob("*")])
    return sorted((str(path), known.st_ino, known.st_mtime_ns) for path, known in states)


OLD = {"weights.safetensors": "old", "x/old.engine": "old"}
NEW = {"weights.safetensors": "new", "x/a.engine": "new", "x/b.engine": "new"}
STEPS = ("renamed", "one moved", "all moved", "dropped", "manifest moved")


@pytest.fixture
def killed(tmp_path: Path) -> Callable[[str], Path]:
    """Makes what a change leaves behind that was killed after a step."""

    def make(step: str) -> Path:
        path, new = tmp_path / "m", tmp_path / "new"
        write(path, "old", "x/old.engine")
        write(new, "new", "x/a.engine", "x/b.engine")
        shutil.move(new, path / COMMIT)
        last = STEPS.index(step)
        for name in (list(NEW), ["weights.safetensors"], list(NEW), list(NEW), [*NEW, MANIFEST])[last] if last else ():
            (path / COMMIT / name).replace(path / name)
        if last >= STEPS.index("dropped"):
            (path / "x/old.engine").unlink()
        return path

    return make


@pytest.mark.parametrize("step", STEPS)
def test_after_a_kill_anywhere_readers_see_one_bundle_and_the_next_writer_finishes(
    killed: Callable[[str], Path], step: str
) -> None:
    path = killed(step)
    before = everything(path)
    assert contents(path) == contents(path, verify=False) == (OLD if step == "renamed" else NEW)
    assert find_bundles(path.parent) == [path]
    pack(path, path.parent / "a.zip")
    assert contents(unpack(path.parent / "a.zip", path.parent / "out").path) == contents(path)
    assert everything(path) == before
    with exclusive(path):
        assert contents(path) == NEW
    assert not (path / COMMIT).exists()
    assert not (path / "x/old.engine").exists()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter: pytest's own is for its owner."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


AS_NOBODY = """
import decimal, encodings.utf_8_sig, os, sys  # now: the interpreter may be in a folder that nobody else can read
from filelock import FileLock
from pathlib import Path
from vegrt.bundle.bundle import open_bundle
from vegrt.bundle.change import changing
from vegrt.errors import BundleError
path = Path(sys.argv[1])
if os.getuid() == 0:  # who may write anything
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
print(open_bundle(path).sha256())
try:
    with changing(path):
        pass
except BundleError:
    print("refused")
"""


@pytest.mark.parametrize("step", ["renamed", "one moved", "manifest moved"])
def test_a_bundle_that_cannot_be_written_opens(killed: Callable[[str], Path], step: str, open_folder: Path) -> None:
    path = open_folder / "m"
    shutil.move(killed(step), path)
    for folder in [path, *path.rglob("*")]:
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    try:
        done = subprocess.run([sys.executable, "-c", AS_NOBODY, str(path)], capture_output=True, text=True)
        assert done.stdout.split() == [open_bundle(path).sha256(), "refused"], done.stderr
    finally:
        for folder in [path, *path.rglob("*")]:
            folder.chmod(0o755)


def test_a_first_bundle_killed_in_its_commit_is_a_bundle(tmp_path: Path) -> None:
    write(tmp_path / "new", "new")
    (tmp_path / "m").mkdir()
    shutil.move(tmp_path / "new", tmp_path / "m" / COMMIT)
    assert contents(tmp_path / "m") == {"weights.safetensors": "new"}
    assert find_bundles(tmp_path) == [tmp_path / "m"]


def _surplus(commit: Path) -> None:
    (commit / "surplus").write_text("x")


def _results(commit: Path) -> None:
    (commit / "results").mkdir()
    (commit / "results/bench.json").write_text("{}")


def _damaged(commit: Path) -> None:
    (commit / "x/a.engine").write_text("bad")


def _missing(commit: Path) -> None:
    (commit / "x/a.engine").unlink()


def _no_manifest(commit: Path) -> None:
    (commit / MANIFEST).write_text("{}")


def _leaving(commit: Path) -> None:
    manifest = json.loads((commit / MANIFEST).read_text())
    manifest["artifacts"][0]["path"] = "../weights.safetensors"
    (commit / MANIFEST).write_text(json.dumps(manifest))


def _no_folder(commit: Path) -> None:
    shutil.rmtree(commit)
    commit.write_text("x")


@pytest.mark.parametrize("harm", [_surplus, _results, _damaged, _missing, _no_manifest, _leaving, _no_folder])
def test_a_commit_not_written_by_vegrt_is_ignored_and_never_finished(
    killed: Callable[[str], Path], harm: Callable[[Path], None]
) -> None:
    path = killed("renamed")
    harm(path / COMMIT)
    before = everything(path)
    assert contents(path) == contents(path, verify=False) == OLD
    with pytest.raises(BundleError, match=r"an interrupted change that cannot be finished .*rm -r .*\.commit"):
        write(path, "newer")
    assert everything(path) == before
    shutil.rmtree(path / COMMIT) if (path / COMMIT).is_dir() else (path / COMMIT).unlink()
    write(path, "newer")
    assert contents(path) == {"weights.safetensors": "newer"}


def test_a_second_writer_is_refused_at_once_but_not_the_same_thread(tmp_path: Path) -> None:
    write(tmp_path, "one")
    messages: list[str] = []

    def second() -> None:
        try:
            write(tmp_path, "two")
        except BundleError as error:
            messages.append(str(error))

    with exclusive(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        program = (
            f"from vegrt.files.locking import locked\nfrom pathlib import Path\nwith locked(Path('{tmp_path}')): pass"
        )
        process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert "another process is changing it" in process.stderr
        write(tmp_path, "three")
    assert len(messages) == 1
    assert "another process is changing it" in messages[0]
    assert contents(tmp_path) == {"weights.safetensors": "three"}
    with locked(tmp_path), pytest.raises(BundleError, match="no such folder"), locked(tmp_path / "none"):
        pass


def test_a_result_of_a_model_that_changed_meanwhile_is_dropped(tmp_path: Path) -> None:
    write(tmp_path, "one")
    bundle = open_bundle(tmp_path)
    row = ArtifactRow(artifact_sha256=bundle.artifact("weights").sha256)
    result = Curve(**header_fields(bundle, Curve.KIND), candidates=(row,), images=1, rows=())
    write(tmp_path, "one", "added.engine")
    save_result(bundle, "curve", result)
    write(tmp_path, "two")
    with pytest.raises(BundleError, match=r"changed while results/curve\.json was measured"):
        save_result(bundle, "curve", result)


def test_leftovers_of_a_killed_pack_are_no_bundle_and_the_next_run_removes_them(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write(models / "m", "one")
    pack(models / "m", models / "a.zip")
    abandoned, running = models / ".out.0123abcd.tmp", models / ".out.89ab0123.tmp"
    others = [models / ".out.notes.tmp", models / ".a.0123.tmp.zip"]
    for folder in (abandoned, running, others[0]):
        shutil.copytree(models / "m", folder)
    others[1].write_text("mine")
    (models / ".a.0123abcd.tmp.zip").write_text("half")
    assert find_bundles(models) == [models / "m"]
    descriptor = os.open(running, os.O_RDONLY)
    try:
        assert take_lock(descriptor)  # as the process does that is still filling it
        unpack(models / "a.zip", models / "out")
        assert (abandoned.exists(), running.exists()) == (False, True)
    finally:
        os.close(descriptor)
    pack(models / "m", models / "a.zip")
    assert not (models / ".a.0123abcd.tmp.zip").exists()
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("task", ["kills", "interleavings"])
def test_random_kills_and_two_writers_with_readers_beside_them(task: str) -> None:
    done = subprocess.run([sys.executable, SCRIPT, task, "10"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("10 ")
