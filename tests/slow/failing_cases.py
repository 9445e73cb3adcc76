"""The commands whose file operations fail in turn (tests/slow/failing_io.py), each with its own subjects."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = "../base/data"
TINY = ("--backbone", "timm:test_resnet", "--weights", "none", "--size", "32", "--epochs-head", "0", "--epochs", "2")
TRAINING = (*TINY, "--batch-size", "4", "--seed", "3", "--workers", "0")


@dataclass(frozen=True, slots=True)
class Case:
    """A command in a folder of its own.

    copied: files and folders of the subjects that it gets; others are read at ../base. inputs: those that it only reads.
    bundles: folders that are judged as bundles. codes: the exit codes of an undisturbed run. when_old, when_new: options that
    are added to repeat it, when its files are the old or the new ones; None if it is refused then. exact: two runs write the
    same bytes. separate: its files need not appear together. may_remain: suffixes of files that its repetition may leave.
    """

    name: str
    words: tuple[str, ...]
    copied: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    bundles: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0,)
    when_old: tuple[str, ...] | None = ()
    when_new: tuple[str, ...] | None = ()
    exact: bool = False
    separate: bool = False
    may_remain: tuple[str, ...] = ()
    function: Callable[[], object] | None = None

    def prepare(self, base: Path, folder: Path) -> None:
        """Fill a new folder."""
        folder.mkdir()
        for name in self.copied:
            source = base / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name.removeprefix("with-"))
        if (base / "cache").is_dir():
            shutil.copytree(base / "cache", folder / "cache")

    def again(self, folder: Path, side: str, code: int) -> tuple[str, ...] | None:
        """Return the options with which the command is repeated."""
        if self.when_old == RESUME and self.words[0] == "infer" and not any(folder.glob("*.run.json")):
            return self.when_new if side == "new" else ()  # nothing to resume
        return self.when_new if side == "new" or code in self.codes else self.when_old

    def call(self, more: tuple[str, ...]) -> int:
        """Run it in this process and return its exit code."""
        from vegrt.cli import main

        if self.function is not None:
            return _code_of(self.function)
        words = [Path("../base/run").read_text() if word == RUN else word for word in self.words]
        sys.argv = ["vegrt", "-q", *words, *more]
        return _code_of(main)


def _code_of(function: Callable[[], object]) -> int:
    try:
        function()
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    return 0


KIT = ("--data", DATA, "--calibration-photos", "3", "--test-photos", "6")
TUNING = (*TINY[:-2], "--epochs", "1", "--batch-size", "4", "--seed", "3")
RUN = "the id of the recorded run"
AGAIN = ("--overwrite",)
RESUME = ("--resume",)
MODEL = ("--bundle", "../base/bundle", "--runtime", "onnxruntime", "--variant", "fp32", "--threads", "1")
INFER = ("infer", "../base/few", *MODEL)
ONNX = ("--from-onnx", "../base/model.onnx", "--classes", "../base/classes.txt")
IMPORT = (*ONNX, "--contract", "../base/contract.toml", "--data", DATA, "--no-engine", "--photos", "16")
ON_ONE = ("--runtime", "onnxruntime", "--data", DATA)
VERDICTS = (0, 3, 4)


def _of_bundle(name: str, *words: str, **more: Any) -> Case:
    """Return a case that changes a copy of the bundle."""
    return Case(name, tuple(words), copied=("bundle",), bundles=("bundle",), **more)


def _infer(name: str, *words: str, **more: Any) -> Case:
    """Return a case of `infer` that leaves a note where it is resumed."""
    usual: dict[str, Any] = {"when_old": RESUME, "when_new": AGAIN, "exact": True, "may_remain": (".run.json",)}
    return Case(f"infer {name}", (*INFER, *words), **(usual | more))


def _new(name: str, *words: str, **more: Any) -> Case:
    """Return a case whose output is new, and replaced by --overwrite."""
    return Case(name, tuple(words), **({"when_new": AGAIN} | more))


CASES = (
    _new("pack zip", "bundle", "pack", "bundle", "out.zip", copied=("bundle",), exact=True),
    _new("pack zst", "bundle", "pack", "bundle", "out.tar.zst", copied=("bundle",), exact=True),
    Case("unpack", ("bundle", "unpack", "packed.zip", "out"), copied=("packed.zip",), bundles=("out",), when_new=None),
    _of_bundle("sign", "bundle", "sign", "bundle", "--key", "../base/key.pem"),
    _of_bundle("sbom", "bundle", "sbom", "bundle"),
    _new("sbom file", "bundle", "sbom", "../base/bundle", "-o", "sbom.json"),
    _new("split", "data", "split", DATA, "-o", "split.csv", exact=True),
    _new("add", "data", "add", DATA, "labelled.csv", "-o", "all.csv", copied=("labelled.csv",), exact=True),
    Case("audit", ("data", "audit", DATA, "-o", "audit"), separate=True),
    Case("sample", ("data", "sample", "sample", "--train", "1", "--validation", "1", "--test", "1"), when_new=None),
    _new("guess", "contract", "guess", *ONNX, "--data", DATA, "-o", "contract.toml", "--photos", "8"),
    _infer("csv", "-o", "out.csv"),
    _infer("jsonl", "-o", "out.jsonl"),
    _infer("parquet", "-o", "out.parquet"),
    _infer("csv and npy", "-o", "out.csv", "--embeddings", "out.npy", separate=True),
    _infer("csv over an old one", "-o", "out.csv", "--overwrite", copied=("out.csv",), when_old=(), when_new=()),
    _infer("csv with resume", "-o", "out.csv", "--resume", when_old=(), when_new=()),
    _infer(
        "csv resumed", "-o", "out.csv", "--resume", copied=("out.csv", "out.csv.run.json"), when_old=(), when_new=()
    ),
    _infer("annotate", "--annotate", "drawn", when_old=(), when_new=(), separate=True),
    _infer("sort-into", "--sort-into", "sorted", when_old=(), when_new=(), separate=True),
    Case(
        "infer counters",
        ("infer", "../base/few", *MODEL[2:], "--bundle", "../base/trusted", "--reject", "--counters", "counters.json"),
        copied=("counters.json",),
    ),
    Case("infer keep-unsure", (*INFER, "--keep-unsure", "unsure"), separate=True, when_old=None, when_new=None),
    Case("drift", ("drift", "../base/trusted", "counters.json"), copied=("counters.json",), codes=VERDICTS),
    _of_bundle("evaluate", "evaluate", "bundle", *ON_ONE, codes=VERDICTS, separate=True),
    _of_bundle("evaluate name", "evaluate", "bundle", *ON_ONE, "--name", "field", codes=VERDICTS, separate=True),
    _of_bundle("robustness", "robustness", "bundle", *ON_ONE, "--images", "3"),
    _of_bundle(
        *("bench", "bench", "bundle", "--runtime", "onnxruntime", "--variant", "fp32", "--rounds", "1", "--budget-s"),
        *("0.1", "--batch", "1", "--no-memory", "--no-limits", "--threads", "1"),
    ),
    _of_bundle("trust", "trust", "bundle", *ON_ONE, "--variant", "fp32", codes=VERDICTS),
    Case(
        "report",
        ("report", "bundle", "-o", "report.html", "--markdown", "report.md", "--card", "card.md"),
        copied=("bundle",),
        inputs=("bundle",),
        separate=True,
    ),
    _of_bundle("calibrate", "calibrate", "bundle", "--data", DATA, "--no-engine", "--photos", "16", "--overwrite"),
    _of_bundle(
        "sensitivity", "calibrate", "bundle", "--data", DATA, "--no-engine", "--sensitivity", "--curve", separate=True
    ),
    _of_bundle("export", "export", "bundle", "--data", DATA, "--no-engine", "--photos", "16", "--overwrite"),
    Case("import", ("export", "new", *IMPORT), bundles=("new",), when_new=AGAIN),
    Case(
        "train",
        ("train", "--data", "../base/few-data", "--out", "new", "--runs", "runs.db", *TRAINING),
        bundles=("new",),
        when_old=RESUME,
        when_new=AGAIN,
        separate=True,
    ),
    Case(
        "train over an old one",
        ("train", "--data", "../base/few-data", "--out", "trained", "--runs", "runs.db", *TRAINING, "--overwrite"),
        copied=("trained", "runs.db"),
        bundles=("trained",),
        when_old=RESUME,
        separate=True,
    ),
    Case("runs delete", ("runs", "delete", "--runs", "runs.db", RUN, "--force"), copied=("runs.db",), codes=(0, 1)),
    Case(
        "tune",
        ("tune", "--data", "../base/few-data", "--out", "study", "--trials", "1", "--runs", "runs.db", *TUNING),
        bundles=("study/best",),
        separate=True,
    ),
    *(
        Case(f"deploy {name}", ("deploy", name, "../base/bundle", "out", *words), when_new=again)
        for name, words, again in (
            ("triton", (), None),
            ("docker", (), AGAIN),
            ("kserve", ("--image", "registry.example/vegrt:1"), AGAIN),
            ("raspberrypi", (), AGAIN),
            ("kit", KIT, AGAIN),
        )
    ),
    Case(
        "deploy kit over an old one", ("deploy", "kit", "../base/bundle", "kit", *KIT, "--overwrite"), copied=("kit",)
    ),
)


def add_subjects(base: Path, run: Callable[[list[str]], None]) -> None:
    """Write the subjects that the bundle of the mutations lacks."""
    for number, photo in enumerate(sorted((base / DATA.removeprefix("../base/") / "validation").rglob("*.png"))[::12]):
        (base / "few").mkdir(exist_ok=True)
        shutil.copy(photo, base / "few" / f"{number}.png")
    for photo in (base / "data").rglob("00[0-3].png"):
        target = base / "few-data" / photo.relative_to(base / "data")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, target)
    bundle = str(base / "bundle")
    one = ["--runtime", "onnxruntime", "--variant", "fp32", "--threads", "1"]
    run(["bundle", "pack", bundle, str(base / "packed.zip")])
    few = os.path.relpath(base / "few")
    (base / "fewer").mkdir()
    shutil.copy(base / "few/0.png", base / "fewer/0.png")
    run(["infer", few + "er", "--bundle", bundle, *one, "-o", str(base / "out.csv"), "--resume"])
    shutil.copytree(base / "bundle", base / "trusted")
    run(["trust", str(base / "trusted"), "--data", str(base / "data"), *one[:4]])
    (base / "counters.json").unlink()  # of the other bundle
    counting = ["--reject", "--counters", str(base / "counters.json")]
    run(["infer", few, "--bundle", str(base / "trusted"), *one, *counting])
    run(
        [
            "train",
            "--data",
            str(base / "few-data"),
            "--out",
            str(base / "trained"),
            "--runs",
            str(base / "runs.db"),
            *TRAINING,
        ]
    )
    run(["deploy", "kit", bundle, str(base / "kit"), "--data", str(base / "data"), *KIT[2:]])
    photo = sorted((base / "few").iterdir())[0]
    (base / "labelled.csv").write_text(f"path,class,split\n{photo},Beet,train\n")
    with closing(sqlite3.connect(base / "runs.db")) as connection:
        (base / "run").write_text(connection.execute("SELECT id FROM runs").fetchone()[0])
