from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.command_line import call
from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import VegrtError
from vegrt.evaluate import robustness
from vegrt.evaluate.corruptions import CORRUPTIONS, Corruption, brightness, rotate
from vegrt.evaluate.evaluate import evaluate
from vegrt.evaluate.resampling import Resamples
from vegrt.evaluate.robustness import LEVELS, CorruptionLevel, extra_drop, robustness_candidates, run_robustness, sample
from vegrt.evaluate.wording import extra_drop_sentence
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.results.analysis import Robustness
from vegrt.results.common import Interval

FP32, INT8 = Candidate("fp32", "onnxruntime"), Candidate("int8-cpu", "onnxruntime")


def photo(size: int = 64) -> NDArray[np.uint8]:
    """A smooth picture: on noise a blur would look like no loss of detail worth measuring."""
    rows, columns = np.mgrid[:size, :size] / size
    waves = np.stack([np.sin(9 * rows), np.cos(7 * columns), np.sin(5 * (rows + columns))], axis=2)
    return (127 + 100 * waves).astype(np.uint8)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_each_level_of_a_corruption_is_stronger_than_the_last(corruption: Corruption) -> None:
    clean = photo()
    before = clean.copy()
    distances = []
    for level in range(1, 6):
        corrupted = CorruptionLevel(corruption, level).apply(clean, "Beet/000.jpg")
        assert corrupted.shape == clean.shape
        assert corrupted.dtype == np.uint8
        distances.append(float(np.abs(corrupted.astype(int) - clean).mean()))
    assert distances == sorted(distances)
    assert 0 < distances[0] < distances[-1]
    np.testing.assert_array_equal(clean, before)  # the batch's own pixels are left alone


@pytest.mark.parametrize("level", LEVELS[1::5], ids=lambda level: level.name)
def test_a_photo_is_corrupted_the_same_way_each_time_and_others_differently(level: CorruptionLevel) -> None:
    first, again = (level.apply(photo(), "Beet/000.jpg") for _ in range(2))
    np.testing.assert_array_equal(first, again)
    if level.name == "noise":
        assert (first != level.apply(photo(), "Beet/001.jpg")).any()
        assert (first != CorruptionLevel(level.corruption, 2).apply(photo(), "Beet/000.jpg")).any()


def test_brightness_keeps_the_hue_and_raises_black() -> None:
    pixels = np.array([[[100, 50, 0], [0, 0, 0], [250, 125, 0]]], np.uint8)
    brighter = brightness(pixels, 0.2, np.random.default_rng(0))
    assert brighter.tolist() == [[[151, 76, 0], [51, 51, 51], [255, 128, 0]]]


def test_rotation_goes_to_both_sides_and_leaves_no_black_corner() -> None:
    pixels = np.full((40, 40, 3), 200, np.uint8)
    pixels[:20] = 90
    turned = [rotate(pixels, 30, np.random.default_rng(seed)) for seed in range(8)]
    assert min(image.min() for image in turned) >= 90
    assert len({image.tobytes() for image in turned}) == 2


@pytest.fixture(scope="module")
def ladder(bundle: Bundle, test_split: Split) -> Robustness:
    return run_robustness(bundle, test_split, [FP32, INT8], images=12)


def test_the_ladder_has_a_row_for_every_level_and_candidate(ladder: Robustness) -> None:
    assert (ladder.images, len(ladder.rows)) == (12, 2 * 26)
    assert [row.key for row in ladder.candidates] == ["fp32/onnxruntime", "int8-cpu/onnxruntime"]
    names = ["clean", "jpeg", "blur", "noise", "brightness", "rotation"]
    assert list(dict.fromkeys(row.corruption for row in ladder.rows)) == names
    clean, worst = ladder.rows[0], ladder.rows[-1]
    assert (clean.level, clean.parameter, worst.level, worst.parameter) == (0, None, 5, 45)
    drops = [row.drop.value for row in ladder.rows if row.drop]
    assert len(drops) == len(ladder.rows)
    for index in range(0, len(drops), 2):
        reference, candidate = ladder.rows[index : index + 2]
        assert drops[index] == reference.flips == 0
        assert drops[index + 1] == pytest.approx(reference.top1.value - candidate.top1.value)
    (extra,) = ladder.summary
    assert extra.clean_drop is not None
    assert extra.corrupted_drop is not None
    assert extra.clean_drop.value == pytest.approx(drops[1])
    assert extra.corrupted_drop.value == pytest.approx(np.mean(drops[3::2]))


def test_batches_change_no_photo(
    bundle: Bundle, test_split: Split, ladder: Robustness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robustness, "BATCH", 5)
    again = run_robustness(bundle, test_split, [FP32, INT8], images=12)
    assert replace(again, created=ladder.created) == ladder


def test_clean_photos_are_those_of_the_evaluation(bundle: Bundle, test_split: Split, ladder: Robustness) -> None:
    chosen = replace(test_split, photos=tuple(sample(test_split, 12)))
    evaluated = evaluate(bundle, chosen, [FP32, INT8], margin=0.5).candidates
    for clean, row in zip(ladder.rows[:2], evaluated, strict=True):
        assert clean.top1 == row.top1
        assert clean.drop == row.paired.drop


def test_the_answer_in_words_follows_the_interval() -> None:
    resamples, right = Resamples(100), np.ones((26, 100), bool)
    harmed = right.copy()
    harmed[1:, :30] = False  # thirty photos are lost whenever they are worsened
    worse, better, same = (extra_drop("int8", right, corrupted, resamples) for corrupted in (harmed, ~harmed, right))
    assert "loses more on corrupted photos" in extra_drop_sentence(worse, 0.95)
    assert "loses less on corrupted photos" in extra_drop_sentence(better, 0.95)
    assert "no measurable difference" in extra_drop_sentence(same, 0.95)
    assert same.extra_drop == Interval(0.0, 0.0, 0.0)


def test_the_sample_is_balanced_and_fixed(test_split: Split) -> None:
    chosen = sample(test_split, 15)
    assert [sum(photo.label == label for photo in chosen) for label in range(3)] == [5, 5, 5]
    assert chosen == sample(test_split, 15)
    assert len(sample(test_split, 10_000)) == 60
    assert len(sample(test_split, 1)) == 3


def test_robustness_needs_an_int8_model(bundle: Bundle) -> None:
    assert robustness_candidates([FP32, Candidate("fp16", "onnxruntime"), INT8], bundle) == [FP32, INT8]
    with pytest.raises(VegrtError, match="no int8 model"):
        robustness_candidates([FP32], bundle)


def test_the_command_saves_and_shows_the_result(copied: Bundle, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = [copied.path, "--data", photos, "--runtime", "onnxruntime"]
    shown = call("robustness", *words, "--images", "3")
    assert shown.exit_code == 0
    assert not caplog.text
    for word in ("jpeg", "rotation", "int8-cpu/onnxruntime", "corrupted"):
        assert word in shown.stdout
    body = json.loads((copied.path / "results/robustness-test-only-onnxruntime.json").read_text())
    assert (body["schema"], body["images"]) == ("vegrt-robustness", 3)
    before = body
    old_flag = call("evaluate", *words, "--robustness", "--robustness-images", "3")
    assert old_flag.exit_code == 0
    assert [record.getMessage() for record in caplog.records if "is now called" in record.getMessage()] == [
        "vegrt evaluate --robustness is now called vegrt robustness; "
        "vegrt evaluate --robustness will be removed in the next version"
    ]
    after = json.loads((copied.path / "results/robustness-test-only-onnxruntime.json").read_text())
    assert (after["rows"], after["summary"]) == (before["rows"], before["summary"])
    assert "robustness" not in call("evaluate", "--help").stdout
