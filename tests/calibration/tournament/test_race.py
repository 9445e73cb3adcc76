"""The race of the range methods: a clearly worse one stops, an equal one does not, and the winner is that of all photos."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.calibration.tiny import labelled, subject, tiny_model
from vegrt.calibration.graph.encode import Range
from vegrt.calibration.graph.placement import Encoding
from vegrt.calibration.graph.quantize import ENCODINGS, Ranges
from vegrt.calibration.pixels import PhotoSet
from vegrt.calibration.ranges.methods import METHODS, Method, tensor_range
from vegrt.calibration.resume import CalibrationProgress, finish_progress
from vegrt.calibration.saved import FILE, read_calibration, to_json
from vegrt.calibration.settings import CalibrationSettings
from vegrt.calibration.stage import run_calibration
from vegrt.calibration.tournament import scorer as scorer_module
from vegrt.calibration.tournament.calibrate import calibrate, observe_tensors
from vegrt.calibration.tournament.race import (
    FIRST,
    STEP,
    TOURNAMENT_PHOTOS,
    best_method,
    hardest_first,
    judge_all,
    race,
)
from vegrt.calibration.tournament.scorer import Scorer, score_logits
from vegrt.files.atomic import write_json
from vegrt.infer.runtimes.onnxruntime.session import read_tensors
from vegrt.infer.runtimes.runner import Runner

PHOTOS = TOURNAMENT_PHOTOS + 10
SEED = 2  # of a model that gives several answers


@pytest.fixture(scope="module")
def held_out() -> PhotoSet:
    return labelled(tiny_model(seed=SEED), PHOTOS, seed=2)


@pytest.fixture(scope="module")
def peaks(held_out: PhotoSet) -> Ranges:
    return peak_ranges(held_out, "signed")


def peak_ranges(held_out: PhotoSet, encoding: Encoding) -> Ranges:
    """Return the ranges of the minmax method, observed on the very photos: they suit them well."""
    observations = observe_tensors(tiny_model(seed=SEED), held_out, CalibrationProgress(None, ""))
    return {name: tensor_range(observation, "minmax", encoding) for name, observation in observations.items()}


def scaled(ranges: Ranges, factor: float, note: str = "") -> Ranges:
    """Return ranges that are a factor wider. note: a tensor that the graph does not have, so that the ranges are others."""
    wider = {name: Range(span.low * factor, span.high * factor) for name, span in ranges.items()}
    return wider | ({note: Range(-1, 1)} if note else {})


def test_the_hardest_photos_are_those_of_the_smallest_margin() -> None:
    logits = np.array([[9, 1, 0], [3, 3, 0], [-1, 0, -5], [0, 4, 4], [7, 2, 6]], np.float32)
    assert hardest_first(logits).tolist() == [1, 3, 2, 4, 0]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_clearly_worse_methods_stop_and_the_winner_is_that_of_all_photos(
    encoding: Encoding, held_out: PhotoSet, peaks: Ranges
) -> None:
    table: dict[Method, Ranges] = {
        "minmax": scaled(peaks, 30),
        "percentile": scaled(peaks, 3),
        "mse": peaks,
        "entropy": scaled(peaks, 0.1),
    }
    scorer = Scorer(tiny_model(seed=SEED), held_out)
    whole, raced = judge_all(encoding, table, scorer), race(encoding, table, scorer)
    assert [row.method for row in raced] == list(METHODS)
    assert best_method(raced) == best_method(whole) == "mse"
    assert raced[METHODS.index("mse")] == whole[METHODS.index("mse")]
    first = held_out.first(TOURNAMENT_PHOTOS)
    order = hardest_first(scorer.reference(TOURNAMENT_PHOTOS))
    hardest = PhotoSet([first.photos[index] for index in order], first.pixels)
    reference = scorer.reference(TOURNAMENT_PHOTOS)[order]
    for row in raced:
        if row.method == "mse":
            continue
        assert row.stopped is not None
        images = row.stopped.images
        assert FIRST <= images < TOURNAMENT_PHOTOS
        assert images % STEP == 0
        answers = scorer.answers(encoding, table[row.method], hardest, images)
        assert row.score == score_logits(reference[:images], answers, hardest.labels[:images])
        winner = raced[METHODS.index("mse")].score
        if row.stopped.reason == "flips":
            assert row.score.flips > winner.flips
        else:  # with fewer flips it could still win
            assert row.score.flips == winner.flips
    stops = {row.method: row.stopped for row in raced if row.stopped}
    assert (stops["entropy"].images, stops["entropy"].reason) == (FIRST, "flips")
    if encoding == "signed":
        assert stops["percentile"].reason == "KL"  # as many flips as the winner


@pytest.mark.parametrize("seed", range(12))
def test_no_race_has_another_winner_than_all_photos(seed: int, held_out: PhotoSet, peaks: Ranges) -> None:
    """Ranges a few percent wider or narrower round each value differently: the methods are hard to tell apart."""
    factors = np.random.default_rng(seed).uniform(0.9, 1.3, len(METHODS))
    table: dict[Method, Ranges] = {
        method: scaled(peaks, factor) for method, factor in zip(METHODS, factors, strict=True)
    }
    scorer = Scorer(tiny_model(seed=SEED), held_out)
    encoding = ENCODINGS[seed % 2]
    rows, whole = race(encoding, table, scorer), judge_all(encoding, table, scorer)
    assert best_method(rows) == best_method(whole)
    assert [row for row in rows if not row.stopped] == [
        row for row, raced in zip(whole, rows, strict=True) if not raced.stopped
    ]


def test_ties_are_not_stopped_and_the_simplest_wins(held_out: PhotoSet, peaks: Ranges) -> None:
    table: dict[Method, Ranges] = {method: scaled(peaks, 1.01, note=method) for method in METHODS}
    rows = race("signed", table, Scorer(tiny_model(seed=SEED), held_out))
    assert [row.stopped for row in rows] == [None] * 4
    assert len({row.score for row in rows}) == 1
    assert best_method(rows) == "minmax"
    assert best_method(reversed(rows[1:])) == "entropy"


def test_an_interrupted_race_resumes_where_it_was(
    tmp_path: Path, held_out: PhotoSet, peaks: Ranges, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = zip(METHODS, (8, 3, 1, 1.1), strict=True)
    table: dict[Method, Ranges] = {method: scaled(peaks, factor) for method, factor in factors}
    runs: list[int] = []
    runner_logits = scorer_module.runner_logits

    def counting(runner: Runner, photos: PhotoSet) -> NDArray[np.float32]:
        runs.append(len(photos))
        if len(runs) == limit:
            raise KeyboardInterrupt
        return runner_logits(runner, photos)

    monkeypatch.setattr(scorer_module, "runner_logits", counting)
    limit = 0
    whole = race("signed", table, Scorer(tiny_model(seed=SEED), held_out))
    in_one_go = sum(runs)
    assert in_one_go < 5 * TOURNAMENT_PHOTOS  # the float model and four candidates
    limit, cut = 7, []  # the float model, four methods' first photos, the leader; within the second method
    runs.clear()
    with pytest.raises(KeyboardInterrupt):
        race("signed", table, Scorer(tiny_model(seed=SEED), held_out, CalibrationProgress(tmp_path / "p", "key")))
    cut, limit = runs[:-1], 0
    runs.clear()
    assert (
        race("signed", table, Scorer(tiny_model(seed=SEED), held_out, CalibrationProgress(tmp_path / "p", "key")))
        == whole
    )
    assert sum(cut) + sum(runs) == in_one_go + TOURNAMENT_PHOTOS  # the float model's answers are not saved


def test_without_racing_all_methods_are_judged_on_all_photos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hostile = dataclasses.replace(subject(hostile=4), held_out=labelled(tiny_model(hostile=4), PHOTOS, seed=2))
    raced = run_calibration(tmp_path, hostile, CalibrationSettings())
    assert [row for row in raced.calibration.tournament if row.stopped]
    write_json(tmp_path / FILE, to_json(raced.calibration, raced.key))
    assert read_calibration(tmp_path / FILE) == raced.calibration
    finish_progress(tmp_path)
    with caplog.at_level(logging.WARNING):
        whole = run_calibration(tmp_path, hostile, CalibrationSettings(racing=False))
    assert "not used, it was made with method: racing {'order': 'hardest first'" in caplog.text
    assert not [row for row in whole.calibration.tournament if row.stopped]
    assert not any("stopped" in row.to_dict() for row in whole.calibration.tournament)
    assert whole.calibration.winners == raced.calibration.winners
    assert whole.calibration.ranges == raced.calibration.ranges


def test_one_run_of_the_network_gives_the_ranges_of_all_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = subject()
    runs: list[int] = []

    def counting(*arguments: object, **options: int) -> object:
        read = read_tensors(*arguments, **options)  # type: ignore[arg-type]

        def read_and_count(images: NDArray[np.uint8]) -> object:
            runs.append(len(images))
            return read(images)

        return read_and_count

    monkeypatch.setattr("vegrt.calibration.ranges.activations.read_tensors", counting)
    calibration = calibrate(whole.model, whole.observed, Scorer(whole.model, whole.held_out))
    assert sum(runs) == len(whole.observed)
    for method in METHODS:
        alone = observe_tensors(whole.model, whole.observed, CalibrationProgress(None, ""))
        for encoding in ENCODINGS:
            ranges = {name: tensor_range(observation, method, encoding) for name, observation in alone.items()}
            assert calibration.ranges[encoding, method] == ranges
