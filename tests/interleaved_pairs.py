"""Pairs of what two processes may do to one bundle, one output, one history or one cache at the same time.

Each pair makes its subject in a folder, lets both act by turns (tests.interleaving), and says what is wrong afterwards. An actor
may be refused with one line that names the other one; it must not fail in another way, and nothing that it reported may be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vegrt.bundle.bundle
from tests.interleaving import interleaved
from tests.keys import write_keys
from tests.result_files import Results
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing, exclusive
from vegrt.bundle.entries import MANIFEST
from vegrt.bundle.manifest import Manifest
from vegrt.bundle.pack import pack, unpack
from vegrt.bundle.sbom import Licences, write_sbom
from vegrt.bundle.signature import open_signed, sign
from vegrt.errors import VegrtError
from vegrt.files.atomic import creating, write_text
from vegrt.files.user_cache import UserCache
from vegrt.infer.drift.counters import Counters, Subject, read_counters
from vegrt.infer.outputs.files import OutputOptions, open_outputs
from vegrt.infer.outputs.photos import write_unique
from vegrt.infer.outputs.rows import AnswerRow, RowFormat
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.trust.histograms import ClassCounts, Edges, Reference
from vegrt.infer.trust.judge import Judged, Judgement
from vegrt.photo.contract import Contract
from vegrt.results.benchmark import Bench
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import load_result, save_result
from vegrt.results.predictions import read_predictions
from vegrt.train.history.runs_db import Recorder, list_runs

REFUSALS = ("another process", "was changed while", "changed while", "changed during", "exists", "unfinished run")
FILES = ("fp32.onnx", "int8.onnx")
REPEATS = 3
INT8 = Candidate("int8", "onnxruntime")

Outcomes = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Pair:
    """make: makes the subject in a folder and returns the actors. check: raises AssertionError for what is wrong afterwards."""

    name: str
    make: Callable[[Path], Mapping[str, Callable[[], object]]]
    check: Callable[[Path, Outcomes], object]


def try_pair(pair: Pair, folder: Path, seed: int) -> tuple[Outcomes, list[str]]:
    """Let a pair act in a new folder by turns; return the outcomes and the order. Raises AssertionError for what is wrong."""
    folder.mkdir()
    with _hashing_in_place():
        outcomes, steps = interleaved(seed, pair.make(folder), [folder])
    for name, outcome in outcomes.items():
        if isinstance(outcome, Exception) and not is_refusal(outcome):
            raise AssertionError(f"{name}: {outcome!r}") from outcome
    pair.check(folder, outcomes)
    return outcomes, steps


def is_refusal(outcome: object) -> bool:
    """Return whether an actor was refused in one line that says why."""
    return isinstance(outcome, VegrtError) and any(words in str(outcome) for words in REFUSALS)


class _Here(Executor):
    """Calls in the thread itself, so that its operations are turns of the actor."""

    def __init__(self, workers: int) -> None:
        del workers

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **more: Any) -> Iterator[Any]:
        return map(fn, *iterables)


@contextmanager
def _hashing_in_place() -> Iterator[None]:
    names = vars(vegrt.bundle.bundle)
    original = names["ThreadPoolExecutor"]
    names["ThreadPoolExecutor"] = _Here
    try:
        yield
    finally:
        names["ThreadPoolExecutor"] = original


def change(path: Path) -> int:
    """Count one further, in every file and in the manifest; odd numbers have a file more. Returns the number."""
    with exclusive(path, make=True):
        count = count_of(open_bundle(path)) + 1 if (path / MANIFEST).exists() else 0
        with changing(path) as staging:
            for name in (*FILES, *(["extra.onnx"] if count % 2 else [])):
                staging.file(name).write_text(f"{count:08d}")
                staging.add(name, "model", name.removesuffix(".onnx") if name in FILES else "fp16")
            staging.finish(Manifest("m", ("a", "b"), Contract(), {"backbone": "none"}, training={"count": count}))
    return count


def count_of(bundle: Bundle) -> int:
    """Return the number of a bundle, all of whose models must say the same if it is the current one."""
    count = int(bundle.manifest.training["count"])
    try:
        models = [artifact for artifact in bundle.manifest.artifacts if artifact.role == "model"]
        contents = {bundle.path_of(artifact.path).read_text() for artifact in models}
    except FileNotFoundError:
        assert not bundle.is_current()
        return count
    assert contents == {f"{count:08d}"} or not bundle.is_current()
    return count


def _changed(folder: Path) -> Path:
    change(folder / "m")
    return folder / "m"


def _no_leftovers(path: Path) -> None:
    left = [file.name for file in path.rglob(".*")]
    assert not left, f"left: {left}"


def _check_changes(folder: Path, outcomes: Outcomes) -> None:
    """Check that every change that was reported counts."""
    counts = [outcome for name, outcome in outcomes.items() if name.startswith("change") and isinstance(outcome, int)]
    assert count_of(open_bundle(folder / "m")) == len(counts)
    assert sorted(counts) == list(range(1, len(counts) + 1))
    _no_leftovers(folder / "m")


def _openings(path: Path, verify: bool = True) -> Callable[[], list[int]]:
    def read() -> list[int]:
        counts = [count_of(open_bundle(path, verify=verify and number % 4 != 3)) for number in range(20)]
        assert counts == sorted(counts)
        return counts

    return read


def _make_changes(folder: Path) -> Mapping[str, Callable[[], object]]:
    path = _changed(folder)
    return {"change 1": lambda: change(path), "change 2": lambda: change(path)}


def _make_openings(folder: Path) -> Mapping[str, Callable[[], object]]:
    path = _changed(folder)
    return {"change": lambda: change(path), "open": _openings(path)}


def _make_pack(folder: Path) -> Mapping[str, Callable[[], object]]:
    path = _changed(folder)
    return {"change": lambda: change(path), "pack": lambda: pack(path, folder / "m.zip")}


def _check_pack(folder: Path, outcomes: Outcomes) -> None:
    _check_changes(folder, outcomes)
    if not isinstance(outcomes["pack"], Exception):
        count_of(unpack(folder / "m.zip", folder / "unpacked"))
        open_bundle(folder / "unpacked")


def _make_sign(folder: Path) -> Mapping[str, Callable[[], object]]:
    path = _changed(folder)
    write_keys(folder)
    return {"change": lambda: change(path), "sign": lambda: sign(path, folder / "key.pem")}


def _check_sign(folder: Path, outcomes: Outcomes) -> None:
    _check_changes(folder, outcomes)
    signs, changes = (not isinstance(outcomes[name], Exception) for name in ("sign", "change"))
    if signs and not changes:
        assert open_signed(folder / "m", folder / "key.pub").signed
    elif not signs:
        with pytest.raises(VegrtError, match="sign"):
            open_signed(folder / "m", folder / "key.pub")


def _make_result(folder: Path) -> Mapping[str, Callable[[], object]]:
    path = _changed(folder)
    write = Results(open_bundle(path))
    return {"change": lambda: change(path), "bench": lambda: write.timed({INT8: 1.0})}


def _check_result(folder: Path, outcomes: Outcomes) -> None:
    _check_changes(folder, outcomes)
    bundle = open_bundle(folder / "m")
    file = folder / "m/results/bench.json"
    assert not file.exists() or load_result(bundle, Bench, "bench") is not None, "a stale result remains"
    if isinstance(outcomes["change"], Exception) and not isinstance(outcomes["bench"], Exception):
        assert file.exists(), "the result is lost"


def _make_signed_result(folder: Path) -> Mapping[str, Callable[[], object]]:
    path = _changed(folder)
    write_keys(folder)
    write = Results(open_bundle(path))
    return {"sign": lambda: sign(path, folder / "key.pem"), "bench": lambda: write.timed({INT8: 1.0})}


def _check_signed_result(folder: Path, outcomes: Outcomes) -> None:
    assert not any(isinstance(outcome, Exception) for outcome in outcomes.values())
    assert open_signed(folder / "m", folder / "key.pub").signed
    assert load_result(open_bundle(folder / "m"), Bench, "bench") is not None


def _make_evaluations(folder: Path) -> Mapping[str, Callable[[], object]]:
    bundle = open_bundle(_changed(folder))
    first = Results(bundle).evaluated({INT8: "PASS"})
    second = replace(first, created="2027-02-02T00:00:00+00:00", predictions=_others(first))

    def save(evaluation: Evaluation) -> Callable[[], object]:
        return lambda: save_result(bundle, "evaluate-test", evaluation, max_inline_photos=1)

    return {"evaluate 1": save(first), "evaluate 2": save(second)}


def _others(evaluation: Evaluation) -> Any:
    predictions: Any = evaluation.predictions
    answers = {key: replace(each, top1=(1, 1)) for key, each in predictions.candidates.items()}
    return replace(predictions, candidates=answers)


def _check_evaluations(folder: Path, outcomes: Outcomes) -> None:
    assert not any(isinstance(outcome, Exception) for outcome in outcomes.values())
    stored = load_result(open_bundle(folder / "m"), Evaluation, "evaluate-test")
    assert stored is not None
    top1 = read_predictions(folder / "m/results", stored).candidates[str(INT8)].top1
    assert top1 == ((1, 1) if stored.created.startswith("2027-02") else (0, 1))
    assert len(list((folder / "m/results").iterdir())) == 2


def _make_sbom(folder: Path) -> Mapping[str, Callable[[], object]]:
    path = _changed(folder)
    return {"change": lambda: change(path), "sbom": lambda: write_sbom(path, Licences())}


def _check_sbom(folder: Path, outcomes: Outcomes) -> None:
    bundle = open_bundle(folder / "m")
    assert count_of(bundle) == int(not isinstance(outcomes["change"], Exception))
    _no_leftovers(folder / "m")


def _make_texts(folder: Path) -> Mapping[str, Callable[[], object]]:
    def write(text: str) -> None:
        for _ in range(REPEATS):
            write_text(folder / "page.html", text * 1000)

    return {text: lambda text=text: write(text) for text in "ab"}  # type: ignore[misc]


def _check_texts(folder: Path, outcomes: Outcomes) -> None:
    assert not any(outcomes.values())
    assert set((folder / "page.html").read_text()) in ({"a"}, {"b"})
    _no_leftovers(folder)


def _make_folders(folder: Path) -> Mapping[str, Callable[[], object]]:
    (folder / "kit").mkdir()
    (folder / "kit/0").write_text("old")

    def write(text: str) -> None:
        with creating(folder / "kit", overwrite=True) as place:
            for number in range(REPEATS):
                (place / str(number)).write_text(text)

    return {text: lambda text=text: write(text) for text in ("a", "b")}  # type: ignore[misc]


def _check_folders(folder: Path, outcomes: Outcomes) -> None:
    contents = {file.read_text() for file in (folder / "kit").iterdir()}
    assert contents in ({"a"}, {"b"}), contents
    (text,) = contents
    assert not isinstance(outcomes[text], Exception)
    _no_leftovers(folder)


def _make_cache(folder: Path) -> Mapping[str, Callable[[], object]]:
    cache = UserCache(folder / "cache", 64)

    def use(own: str) -> None:
        for key in ("x", own, "x"):
            cache.put(key, key.encode() * 8)
            assert cache.get("x") in (None, b"x" * 8)

    return {own: lambda own=own: use(own) for own in "ab"}  # type: ignore[misc]


def _check_cache(folder: Path, outcomes: Outcomes) -> None:
    assert not any(outcomes.values()), outcomes
    assert UserCache(folder / "cache", 64).get("x") == b"x" * 8
    _no_leftovers(folder / "cache")


def _make_runs(folder: Path) -> Mapping[str, Callable[[], object]]:
    def record(run: str) -> None:
        recorder = Recorder(folder / "runs.db", run)
        recorder.start({"backbone": "none"}, data=folder, bundle=folder)
        recorder.end("finished")

    return {run: lambda run=run: record(run) for run in ("a", "b")}  # type: ignore[misc]


def _check_runs(folder: Path, outcomes: Outcomes) -> None:
    assert not any(outcomes.values()), outcomes
    assert {(run.id, run.status) for run in list_runs(folder / "runs.db")} == {("a", "finished"), ("b", "finished")}


def _make_outputs(folder: Path) -> Mapping[str, Callable[[], object]]:
    def infer(name: str) -> None:
        options = OutputOptions(folder / "out.csv")
        options.check()
        files = open_outputs(options, RowFormat(top_k=2), 2, 0)
        files.begin({"variant": "int8"})
        for number in range(REPEATS):
            files.append([AnswerRow(f"{name}{number}.jpg", "Beet", (("Beet", 0.75), ("Kale", 0.25)))])
        files.finish()

    return {name: lambda name=name: infer(name) for name in "ab"}  # type: ignore[misc]


def _check_outputs(folder: Path, outcomes: Outcomes) -> None:
    lines = (folder / "out.csv").read_text().splitlines()[1:]
    done = [name for name, outcome in outcomes.items() if outcome is None]
    assert len(done) == 1, outcomes
    assert [line[0] for line in lines] == done * REPEATS
    assert [file.name for file in folder.iterdir()] == ["out.csv"]


def _make_copies(folder: Path) -> Mapping[str, Callable[[], object]]:
    def copy(name: str) -> list[Path]:
        sources = [f"{name}/{number}.jpg" for number in range(2)]
        return [
            write_unique(folder / "sorted", "0.jpg", source, lambda file, source=source: file.write_text(source))  # type: ignore[misc]
            for source in sources
        ]

    return {name: lambda name=name: copy(name) for name in "ab"}  # type: ignore[misc]


def _check_copies(folder: Path, outcomes: Outcomes) -> None:
    contents = sorted(file.read_text() for file in (folder / "sorted").iterdir())
    assert contents == ["a/0.jpg", "a/1.jpg", "b/0.jpg", "b/1.jpg"]


def _make_unpacking(folder: Path) -> Mapping[str, Callable[[], object]]:
    pack(_changed(folder), folder / "m.zip")

    def unpacked() -> None:
        unpack(folder / "m.zip", folder / "out")

    return {"unpack 1": unpacked, "unpack 2": unpacked}


def _check_unpacking(folder: Path, outcomes: Outcomes) -> None:
    assert list(outcomes.values()).count(None) >= 1
    assert count_of(open_bundle(folder / "out")) == 0
    _no_leftovers(folder)


def _make_counters(folder: Path) -> Mapping[str, Callable[[], object]]:
    reference = Reference(Edges((0.5,), (0.0,)), (ClassCounts(0, (5, 5), (10, 0), 0),))
    subject = Subject("m", "int8/onnxruntime", "a" * 64, "b" * 64, ("a", "b"), reference)
    probabilities, scores = np.array([[0.9, 0.1]] * 4), np.full(4, -1.0)
    judged = Judged(probabilities, scores, (Judgement("accept", None, -1.0),) * 4)

    def count() -> int:
        counters = Counters.resumed(subject, folder / "counters.json")
        for _ in range(REPEATS):
            counters.count(judged)
            counters.save()
        return 4 * REPEATS

    return {"count 1": count, "count 2": count}


def _check_counters(folder: Path, outcomes: Outcomes) -> None:
    counts = [outcome for outcome in outcomes.values() if isinstance(outcome, int)]
    assert counts
    stored = read_counters(folder / "counters.json")
    if len(counts) == 2:
        assert stored.photos == sum(counts), "an update is lost"
    assert stored.photos >= max(counts)


PAIRS = (
    Pair("change and change", _make_changes, _check_changes),
    Pair("change and 20 openings", _make_openings, _check_changes),
    Pair("change and pack", _make_pack, _check_pack),
    Pair("change and sign", _make_sign, _check_sign),
    Pair("change and bill of materials", _make_sbom, _check_sbom),
    Pair("change and result", _make_result, _check_result),
    Pair("sign and result", _make_signed_result, _check_signed_result),
    Pair("evaluation and evaluation", _make_evaluations, _check_evaluations),
    Pair("output and output", _make_outputs, _check_outputs),
    Pair("copies and copies", _make_copies, _check_copies),
    Pair("file and file", _make_texts, _check_texts),
    Pair("folder and folder", _make_folders, _check_folders),
    Pair("unpack and unpack", _make_unpacking, _check_unpacking),
    Pair("run and run", _make_runs, _check_runs),
    Pair("cache and cache", _make_cache, _check_cache),
    Pair("counters and counters", _make_counters, _check_counters),
)
