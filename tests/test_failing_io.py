"""Every file operation of some writers fails in turn; tests/slow/failing_io.py does that with all commands and kills them."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.command_line import call
from tests.interleaved_pairs import PAIRS, Pair, change, count_of, try_pair
from tests.result_files import Results, inline
from tests.watched_io import failing, watched
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.entries import COMMIT
from vegrt.errors import VegrtError
from vegrt.infer.outputs.files import OutputOptions, open_outputs
from vegrt.infer.outputs.photos import check_folder, write_unique
from vegrt.infer.outputs.rows import AnswerRow, RowFormat
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import load_result, save_result
from vegrt.results.predictions import read_predictions

FAULTS = {"full": (errno.ENOSPC, True), "broken": (errno.EIO, False)}
SEEDS = (31, 64, 81)
ROWS = [AnswerRow(f"{number}.jpg", "Beet", (("Beet", 0.75),), "", np.ones(3, np.float32)) for number in range(2)]

Step = Callable[[Path], object]


def each_point(folder: Path, fault: str, prepare: Step, act: Step, check: Step) -> int:
    """Let each operation of `act` in a new folder fail in turn, until it passes untouched; return how many there are.

    prepare: fills the folder. check: asserts that what is left is the old or the new, and that the next time is whole.
    """
    number, failed = 0, True
    while failed:
        number += 1
        place = folder / str(number)
        place.mkdir()
        prepare(place)
        before, operations = failing(number, FAULTS[fault][0], lasts=FAULTS[fault][1])
        with watched(before, [place]):
            try:
                act(place)
            except (VegrtError, OSError):
                assert len(operations) >= number
        failed = len(operations) >= number
        check(place)
        shutil.rmtree(place)
    return number - 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bundle_is_the_old_or_the_new_one(tmp_path: Path, fault: str) -> None:
    def check(place: Path) -> None:
        count = count_of(open_bundle(place / "m"))
        assert count in (0, 1)
        is_committed = count == 0 and (place / "m" / COMMIT).exists()  # the next change finishes that one first
        assert change(place / "m") == count + 1 + is_committed
        assert count_of(open_bundle(place / "m")) == count + 1 + is_committed
        assert not list((place / "m").glob(".*"))

    change(tmp_path / "base")
    (tmp_path / "points").mkdir()

    def prepare(place: Path) -> None:
        shutil.copytree(tmp_path / "base", place / "m")

    assert each_point(tmp_path / "points", fault, prepare, lambda place: change(place / "m"), check) > 30


@pytest.mark.parametrize("fault", FAULTS)
def test_the_answers_are_those_that_the_result_states(
    two_gpus: Bundle, results: Results, tmp_path: Path, fault: str
) -> None:
    old = results.evaluated({})
    new = replace(old, created="2027-03-03T00:00:00+00:00", predictions=replace(inline(old), labels=(1, 0)))
    (tmp_path / "points").mkdir()

    def save(place: Path, evaluation: Evaluation) -> None:
        save_result(replace(two_gpus, path=place, state=()), "evaluate-test", evaluation, max_inline_photos=1)

    def check(place: Path) -> None:
        stored = load_result(replace(two_gpus, path=place), Evaluation, "evaluate-test")
        assert stored is not None
        labels = read_predictions(place / "results", stored).labels
        assert labels == ((1, 0) if stored.created == new.created else (0, 1))
        save(place, new)
        assert len(list((place / "results").iterdir())) == 2

    folder = tmp_path / "points"
    assert each_point(folder, fault, lambda place: save(place, old), lambda place: save(place, new), check) > 10


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_into_a_table_and_an_array_can_be_repeated(tmp_path: Path, fault: str) -> None:
    def infer(place: Path, *, resume: bool = False, overwrite: bool = False) -> None:
        options = OutputOptions(place / "x.csv", str(place / "x.npy"), resume=resume, overwrite=overwrite)
        options.check()
        files = open_outputs(options, RowFormat(embedding=True), 1, 3)
        try:
            files.begin({"variant": "int8"})
            for row in ROWS:
                if not files.holds(row.path):
                    files.append([row])
            files.finish()
        finally:
            files.close()

    def check(place: Path) -> None:
        complete = (place / "x.csv").exists()
        if complete:
            assert len((place / "x.csv").read_text().splitlines()) == 1 + len(ROWS)
            assert np.load(place / "x.npy").shape == (2, 3)
        infer(place, resume=not complete and (place / "x.csv.run.json").exists(), overwrite=complete)
        assert len((place / "x.csv").read_text().splitlines()) == 1 + len(ROWS)
        assert np.load(place / "x.npy").shape == (2, 3)
        assert {file.name for file in place.iterdir()} <= {"x.csv", "x.npy", "x.csv.run.json"}

    assert each_point(tmp_path, fault, lambda place: None, infer, check) > 30


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_killed_copy_leaves_is_removed_by_the_next_one(tmp_path: Path, fault: str) -> None:
    def copy(place: Path) -> None:
        write_unique(place / "sorted", "0.jpg", "a/0.jpg", lambda file: file.write_text("photo"))

    def check(place: Path) -> None:
        check_folder(place / "sorted")
        assert [file.name for file in (place / "sorted").iterdir()] in ([], ["0.jpg"])
        copy(place)
        assert (place / "sorted/0.jpg").read_text() == "photo"
        assert [file.name for file in (place / "sorted").iterdir()] == ["0.jpg"]

    assert each_point(tmp_path, fault, lambda place: None, copy, check) > 5


def draw_classes(folder: Path) -> None:
    """Draw noise in class folders, no more than can be split."""
    random = np.random.default_rng(1)
    for number in range(12):
        file = folder / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)).save(file)


@pytest.mark.parametrize("words", ["data split {place}/data -o {place}/x.csv", "bundle pack {place}/m {place}/x.zip"])
def test_a_command_fails_with_one_line(tmp_path: Path, words: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    change(place / "m")
    draw_classes(place / "data")
    number, failed = 0, True
    while failed:
        number += 1
        before, operations = failing(number, errno.EIO)
        with watched(before, [place], [place / "data"]):
            result = call(*words.format(place=place).split())
        failed = len(operations) >= number
        if result.exit_code:
            (line,) = result.stderr.splitlines()
            assert (result.exit_code, line[:7]) == (1, "vegrt: ")
            assert "Input/output error" in line
            assert failed
        else:
            assert any((place / name).exists() for name in ("x.csv", "x.zip"))
        for file in place.glob("x.*"):
            file.unlink()
    assert not list(place.glob(".*"))
    assert number > 5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_two_actors_lose_nothing(pair: Pair, seed: int, tmp_path: Path) -> None:
    try_pair(pair, tmp_path / "folder", seed)


def test_a_seed_decides_the_order(tmp_path: Path) -> None:
    orders = {tuple(try_pair(PAIRS[0], tmp_path / str(number), seed=5)[1]) for number in range(3)}
    assert len(orders) == 1
