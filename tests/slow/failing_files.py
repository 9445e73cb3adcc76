"""Judges the files that a command left: whole, old or new, and nothing besides them."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from vegrt.bundle.bundle import open_bundle
from vegrt.bundle.entries import RESULTS, SIGNATURES
from vegrt.errors import VegrtError

if TYPE_CHECKING:
    from tests.slow.failing_cases import Case

Tree = dict[str, str]  # SHA-256 by relative path
APART = ("tmp", "cache", "home")  # TMPDIR, caches and home of a command
UNFINISHED = (".part", ".part.new", ".run.json", ".run.json.new", ".lock", ".db-journal", ".db-wal", ".db-shm")


def tree_of(folder: Path) -> Tree:
    """Return all files below a folder, without the caches."""
    files = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    names = {file.relative_to(folder).as_posix(): file for file in files}
    return {name: _hash(file) for name, file in sorted(names.items()) if name.split("/")[0] not in ("cache", "home")}


def side_of(case: Case, folder: Path, old: Tree, new: Tree) -> tuple[str, list[str]]:
    """Return whether the files are old, new, part of each, or the same on both sides, and what is wrong with them."""
    now = tree_of(folder)
    sides: set[str] = set()
    problems: list[str] = []
    for bundle in case.bundles:
        side, wrong = _side_of_bundle(folder / bundle, f"{bundle}/", old, new)
        sides |= side
        problems += wrong
    for name in sorted(_visible(case, old) | _visible(case, new) | _visible(case, now)):
        hashes = [tree.get(name) for tree in (old, now, new)]
        side, wrong = _side_of_file(folder / name, name, *hashes, exact=case.exact)
        sides |= side
        problems += wrong
    if len(sides) > 1 and not case.separate:
        problems.append("some files are old, others new")
    return (sides.pop() if len(sides) == 1 else "part" if sides else "same"), problems


def _side_of_file(
    file: Path, name: str, old: str | None, now: str | None, new: str | None, *, exact: bool
) -> tuple[set[str], list[str]]:
    if now == old and old == new:
        return set(), []
    if now == old:
        return {"old"}, []
    if now == new:
        return {"new"}, []
    if old is None and new is None:
        return set(), [f"{name}: nobody expects it"]
    if now is None:
        return set(), [f"{name}: lost"]
    if exact:
        return set(), [f"{name}: neither the old nor the new content"]
    wrong = fault_of(file)
    return ({"new"} if old != new else set()), ([f"{name}: {wrong}"] if wrong else [])


def _side_of_bundle(path: Path, prefix: str, old: Tree, new: Tree) -> tuple[set[str], list[str]]:
    """Return the side of a bundle whose manifest, artifacts and results are those listed in the trees."""
    manifest = f"{prefix}manifest.json"
    try:
        bundle = open_bundle(path)
    except VegrtError as error:
        return ({"old"} if manifest not in old else set()), ([str(error)] if manifest in old else [])
    sides = set()
    if old.get(manifest) != new.get(manifest):
        sides = {"old" if bundle.sha256() == old.get(manifest) else "new"}
    beside = (f"{prefix}{RESULTS}/", *(f"{prefix}{name}" for name in SIGNATURES))  # the manifest does not list them
    results = {name for tree in (old, new) for name in tree if name.startswith(beside)}
    problems = []
    for name in sorted(results):
        file = path / name.removeprefix(prefix)
        if not file.exists():
            if name in old and name in new:
                problems.append(f"{name}: lost")
        elif wrong := fault_of(file):
            problems.append(f"{name}: {wrong}")
    changed = [name for name in results if old.get(name) != new.get(name) and name in new]
    if changed and not sides:
        now = tree_of(path)
        sides = {"old" if now.get(name.removeprefix(prefix)) == old.get(name) else "new" for name in changed}
    return sides, problems


def problems_of(case: Case, folder: Path, new: Tree) -> list[str]:
    """Return what is wrong after the command completed: files that are not whole, missing, or left over."""
    now = tree_of(folder)
    problems = [f"{name}: missing" for name in new if name not in now]
    problems += [
        f"{name}: left over" for name in now if name not in new and not name.endswith(case.may_remain or ("/",))
    ]
    problems += [f"{name}: {wrong}" for name in now if (wrong := fault_of(folder / name))]
    if case.exact:
        problems += [f"{name}: differs" for name in new if name in now and now[name] != new[name]]
    for bundle in case.bundles:
        try:
            open_bundle(folder / bundle)
        except VegrtError as error:
            problems.append(str(error))
    folders = [Path(parent, name) for parent, names, _ in os.walk(folder) for name in names]
    problems += [f"{path.relative_to(folder)}: an empty folder" for path in folders if _is_left(folder, path)]
    return problems + [
        f"{path.relative_to(folder)}: left over"
        for path in folder.glob("cache/**/*")
        if path.is_file() and ".tmp" in path.name
    ]


def _is_left(root: Path, path: Path) -> bool:
    usual = path.name in (RESULTS, "trials") or path.relative_to(root).parts in {(name,) for name in APART}
    return not any(path.iterdir()) and not usual


def _visible(case: Case, tree: Tree) -> set[str]:
    """Return the names of finished files that belong to no bundle."""
    return {
        name
        for name in tree
        if not any(part.startswith(".") for part in name.split("/"))
        and not name.endswith(UNFINISHED)
        and name.split("/")[0] not in (*APART, *case.inputs)
        and "/trials/" not in name  # of a study, until the trial is recorded
        and not name.startswith(tuple(f"{bundle}/" for bundle in case.bundles) or ("/",))
    }


def fault_of(file: Path) -> str:
    """Return why a file is not whole; empty if it is."""
    check = _CHECKS.get(file.suffix)
    if check is None or file.name.startswith("."):
        return ""
    try:
        return check(file)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _json(file: Path) -> str:
    json.loads(file.read_text(encoding="utf-8"))
    return ""


def _lines(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        return "the last line is torn"
    if file.suffix == ".jsonl":
        return "" if all(isinstance(json.loads(line), dict) for line in text.splitlines()) else "a row is no object"
    return "" if len({len(row) for row in csv.reader(text.splitlines())}) == 1 else "rows of different lengths"


def _parquet(file: Path) -> str:
    import pyarrow.parquet

    with file.open("rb") as opened:
        pyarrow.parquet.ParquetFile(opened).read()
    return ""


def _database(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return "" if connection.execute("PRAGMA integrity_check").fetchone() == ("ok",) else "damaged"


def _zip(file: Path) -> str:
    with zipfile.ZipFile(file) as archive:
        return archive.testzip() or ""


def _page(file: Path) -> str:
    return "" if file.read_text(encoding="utf-8").rstrip().endswith("</html>") else "torn"


def _picture(file: Path) -> str:
    from PIL import Image

    with Image.open(file) as image:
        image.load()
    return ""


_CHECKS: dict[str, Callable[[Path], str]] = {
    **{".json": _json, ".csv": _lines, ".jsonl": _lines, ".parquet": _parquet, ".db": _database, ".zip": _zip},
    **{".html": _page, ".jpg": _picture, ".png": _picture},
}


def _hash(file: Path) -> str:
    if file.is_symlink() or not file.is_file():
        return "a link" if file.is_symlink() else "no file"
    with file.open("rb") as opened:
        return hashlib.sha256(opened.read()).hexdigest()
