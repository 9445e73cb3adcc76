"""Cache, resumption, sensitivity and mixed precision on a graph that takes milliseconds, in ONNX Runtime."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.calibration.tiny import SIDE, photo_set, subject, tiny_model
from vegrt.calibration.graph.encode import Range
from vegrt.calibration.graph.placement import quantizable_layers
from vegrt.calibration.pixels import PhotoSet
from vegrt.calibration.resume import PROGRESS, finish_progress
from vegrt.calibration.saved import FILE, read_calibration, to_json
from vegrt.calibration.settings import CalibrationSettings, float_layers_json, read_float_layers
from vegrt.calibration.stage import CalibrationOutcome, run_calibration
from vegrt.calibration.subject import CalibrationSubject
from vegrt.calibration.tournament import scorer
from vegrt.calibration.tournament.budget import fewest_float_layers
from vegrt.calibration.tournament.calibrate import Calibration, calibrate
from vegrt.calibration.tournament.curve import sample_counts, sample_curve
from vegrt.calibration.tournament.scorer import Scorer, held_out_logits, signal_to_noise_db
from vegrt.calibration.tournament.sensitivity import measure_sensitivity, most_sensitive_first
from vegrt.errors import BundleError, DataError, ModelError, VegrtError
from vegrt.files.atomic import write_json
from vegrt.infer.runtimes.runner import Runner
from vegrt.photo.contract import Contract


def saved_in_bundle(folder: Path, outcome: CalibrationOutcome) -> Calibration:
    write_json(folder / FILE, to_json(outcome.calibration, outcome.key))
    finish_progress(folder)
    return read_calibration(folder / FILE)


def test_an_equal_calibration_is_reused_and_any_other_logs_the_difference(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = run_calibration(tmp_path, subject(), CalibrationSettings())
    assert not first.reused
    assert saved_in_bundle(tmp_path, first) == first.calibration
    again = run_calibration(tmp_path, subject(), CalibrationSettings())
    assert again.reused
    assert again.calibration == first.calibration
    assert not caplog.records
    cases: list[tuple[CalibrationSubject, CalibrationSettings, str]] = [
        (subject(seed=5), CalibrationSettings(), "other weights"),
        (subject(hashes=["a", "x"]), CalibrationSettings(), "other photos"),
        (subject(hashes=["a"]), CalibrationSettings(), "3 photos, now 2"),
        (subject(), CalibrationSettings(percentile=99.9), "method: percentile 99.99, now 99.9"),
        (
            dataclasses.replace(subject(), contract=Contract(SIDE, SIDE, (0, 0, 0.5), (1, 1, 1))),
            CalibrationSettings(),
            r"contract: mean \[0, 0, 0\], now \[0, 0, 0.5\]",
        ),
    ]
    for other, settings, words in cases:
        caplog.clear()
        assert not run_calibration(tmp_path, other, settings).reused
        finish_progress(tmp_path)
        assert [record for record in caplog.records if re.search(words, record.getMessage())], words
    saved = json.loads((tmp_path / FILE).read_text())
    saved["key"]["tools"]["onnxruntime"] = "1.0"
    write_json(tmp_path / FILE, saved)
    caplog.clear()
    assert not run_calibration(tmp_path, subject(), CalibrationSettings()).reused
    assert "it was made with tools: onnxruntime 1.0, now" in caplog.text
    (tmp_path / FILE).write_text("{")
    assert not run_calibration(tmp_path, subject(), CalibrationSettings()).reused
    with pytest.raises(BundleError, match="no calibration"):
        read_calibration(tmp_path / FILE)


def test_an_interrupted_calibration_does_not_score_again_what_it_has_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = CalibrationSettings(racing=False)
    whole = run_calibration(tmp_path / "whole", subject(), settings).calibration
    runs = 0
    runner_logits = scorer.runner_logits

    def counting(runner: Runner, photos: PhotoSet) -> NDArray[np.float32]:
        nonlocal runs
        runs += 1
        if runs == 5:  # the float model and three of eight candidates were run
            raise KeyboardInterrupt
        return runner_logits(runner, photos)

    monkeypatch.setattr(scorer, "runner_logits", counting)
    with pytest.raises(KeyboardInterrupt):
        run_calibration(tmp_path / "cut", subject(), settings)
    with caplog.at_level(logging.WARNING):
        assert run_calibration(tmp_path / "cut", subject(), settings).calibration == whole
    assert runs == 5 + 1 + 5
    assert "resuming the interrupted calibration" in caplog.text
    finish_progress(tmp_path / "cut")
    assert not (tmp_path / "cut" / PROGRESS).exists()


def test_equal_models_are_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = subject()
    calibration = calibrate(whole.model, whole.observed, Scorer(whole.model, whole.held_out))
    runs = []
    runner_logits = scorer.runner_logits

    def counting(runner: Runner, photos: PhotoSet) -> NDArray[np.float32]:
        runs.append(len(photos))
        return runner_logits(runner, photos)

    monkeypatch.setattr(scorer, "runner_logits", counting)
    counted = Scorer(whole.model, whole.held_out)
    ranges = calibration.winning_ranges("signed")
    first = counted.score("signed", ranges)
    assert counted.score("signed", dict(ranges), photos=256) == first
    assert runs == [96, 96]  # the float model and one candidate
    counted.score("signed", ranges, frozenset({"conv2"}))
    counted.score("signed", dict(ranges) | {"relu1": Range(-1, 1)})
    counted.score("signed", ranges, photos=32)
    counted.score("unsigned", calibration.winning_ranges("unsigned"))
    assert runs == [96, 96, 96, 96, 32, 96]


def test_the_hostile_layer_is_named_first_and_the_budget_saves_the_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vegrt")
    few = run_calibration(tmp_path / "few", subject(hostile=4), CalibrationSettings()).calibration
    assert [outlier.tensor for outlier in few.outliers] == ["relu1"]
    assert "conv2: channel" in caplog.text
    hostile = subject(hostile=2)  # so many that clipping them does not help
    plain = run_calibration(tmp_path, hostile, CalibrationSettings()).calibration
    assert max(row.score.agreement for row in plain.tournament if row.encoding == "signed") < 0.98
    costs = measure_sensitivity(hostile.model, plain, "signed", Scorer(hostile.model, hostile.held_out))
    layers = [row.layer for row in costs]
    assert layers == quantizable_layers(tiny_model(), "signed") == ["conv1", "conv2", "skip", "add"]
    assert most_sensitive_first(costs)[0] == "conv2"
    saved = run_calibration(tmp_path, hostile, CalibrationSettings(max_drop=1.0, max_flips=1)).calibration
    for encoding in ("signed", "unsigned"):
        assert "conv2" in saved.float_layers[encoding]
        assert len(saved.float_layers[encoding]) <= 2
        assert saved.scores[encoding].flips <= 1
        assert saved.scores[encoding].drop_points <= 1.0
    assert "conv2 in float" in caplog.text
    assert (
        run_calibration(tmp_path, subject(), CalibrationSettings(max_drop=100)).calibration.float_layers["signed"] == ()
    )


def test_layers_named_in_a_file_stay_in_float_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "float-layers.json"
    write_json(file, float_layers_json({"signed": ["conv1"]}))
    settings = CalibrationSettings(float_layers=read_float_layers(file))
    calibration = run_calibration(tmp_path, subject(), settings).calibration
    assert calibration.float_layers == {"signed": ("conv1",), "unsigned": ()}
    model = tiny_model()
    calibration.quantize(model, "signed")
    readers = {node.name: [value.name for value in node.inputs if value] for node in model.graph}
    assert readers["conv1"] == ["pixels", "conv1.weight", "conv1.bias"]
    assert readers["conv2"][:2] == ["relu1.dq", "conv2.weight.dq"]
    with pytest.raises(
        ModelError, match=r"float layers of int8: the model has no conv9; it has conv1, conv2, skip, add"
    ):
        run_calibration(tmp_path, subject(), CalibrationSettings(float_layers={"signed": ["conv9"]}))
    for text in ("[]", '{"format": "other"}', '{"format": "vegrt-float-layers", "int8": "conv1"}', "no json"):
        file.write_text(text)
        with pytest.raises(DataError, match=r"float-layers\.json: "):
            read_float_layers(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_float_layers(tmp_path / "none.json")


def test_invalid_settings_are_refused() -> None:
    cases: list[dict[str, Any]] = [
        {"percentile": 10},
        {"percentile": 101},
        {"max_drop": -1},
        {"max_flips": -1},
        {"photos": 3},
    ]
    for wrong in cases:
        with pytest.raises(VegrtError):
            CalibrationSettings(**wrong)


@given(costs=st.lists(st.integers(0, 20), min_size=1, max_size=12), budget=st.integers(0, 60))
def test_the_budget_keeps_the_fewest_of_the_most_sensitive(costs: list[int], budget: int) -> None:
    """With costs that add up, the greedy choice by falling cost is optimal: fewer layers cannot do."""
    ordered = sorted((f"layer{index}" for index in range(len(costs))), key=lambda name: -costs[int(name[5:])])

    def holds(float_layers: frozenset[str]) -> bool:
        return sum(cost for index, cost in enumerate(costs) if f"layer{index}" not in float_layers) <= budget

    float_layers = fewest_float_layers(ordered, holds)
    assert holds(frozenset(float_layers))
    falling = sorted(costs, reverse=True)
    fewest = next(count for count in range(len(costs) + 1) if sum(falling[count:]) <= budget)
    assert len(float_layers) == fewest


def test_a_model_that_answers_nan_gets_no_score() -> None:
    """The index of the first NaN would count as its answer, and KL and SQNR would be NaN."""
    broken = tiny_model()
    weight = broken.graph.initializers["fc.bias"]
    weight.const_value = ir.Tensor(np.array([0, np.nan, 0, 0], np.float32), name="fc.bias")
    held_out = subject().held_out
    message = r"answers NaN or infinity to 96 of 96 held-out photos, first to 0\.png"
    with pytest.raises(ModelError, match=message):
        held_out_logits(broken, held_out)
    with pytest.raises(ModelError, match=message):
        calibrate(tiny_model(), subject().observed, Scorer(broken, held_out))


def test_the_sample_curve_ends_at_the_calibration_itself(tmp_path: Path) -> None:
    assert sample_counts(200) == [32, 64, 128, 200]
    assert sample_counts(20) == [20]
    whole = subject()
    calibration = run_calibration(tmp_path, whole, CalibrationSettings()).calibration
    points = list(sample_curve(whole, calibration, CalibrationSettings(), Scorer(whole.model, whole.held_out)))
    assert [point.images for point in points] == [32, 32, 64, 64, 96, 96]
    for point in points[-2:]:
        (winner,) = (
            row
            for row in calibration.tournament
            if row.encoding == point.encoding and row.method == calibration.winners[row.encoding]
        )
        score = dataclasses.asdict(winner.score)
        assert {name: getattr(point, name) for name in score} == score


def test_the_scores_follow_their_definitions(tmp_path: Path) -> None:
    whole = subject()
    calibration = run_calibration(tmp_path, whole, CalibrationSettings()).calibration
    labels = [(label + 1) % 4 for label in whole.held_out.labels[:10]] + whole.held_out.labels[10:]
    scorer = Scorer(tiny_model(), photo_set(96, 2, labels))
    score = scorer.score("signed", calibration.winning_ranges("signed"))
    assert score.flips == round((1 - score.agreement) * 96)
    assert score.drop_points == pytest.approx(100 * (86 / 96 - score.accuracy))
    x = np.array([[3.0, 4.0]], np.float32)
    assert signal_to_noise_db(x, x) == 200
    assert signal_to_noise_db(x, x * np.float32(0.9)) == pytest.approx(20, abs=1e-4)
