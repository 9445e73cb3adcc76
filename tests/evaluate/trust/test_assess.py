from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.command_line import call, failure
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.dataset.photos import read_split
from vegrt.evaluate.evaluate import evaluate
from vegrt.evaluate.trust.assess import OtherPhotos, assess_trust, aurc, plan_trust, with_trust
from vegrt.evaluate.trust.fit import fit_trust
from vegrt.evaluate.trust.foreign import auroc, share_accepted
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.trust.store import save_trust
from vegrt.results.convert import from_dict, to_dict
from vegrt.results.evaluation import Evaluation

CHOSEN = [Candidate("fp32", "onnxruntime"), Candidate("int8-cpu", "onnxruntime")]


@pytest.fixture
def trusted(copied: Bundle, photos: Path) -> Bundle:
    """A bundle with trust.json about fp32 and int8-cpu, which accept every answer of at least 0.5."""
    learned = fit_trust(copied, read_split(photos, "validation"), CHOSEN, max_error=0.05)
    rows = (replace(row, abstention=replace(row.abstention, threshold=0.5)) for row in learned.candidates)
    return save_trust(copied.path, replace(learned, candidates=tuple(rows)))


def test_areas_by_hand() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    assert aurc(confidence, np.array([True, True, False, True])) == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)
    assert aurc(confidence, np.array([False, True, True, True])) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    own, foreign = np.arange(20.0), np.array([-1.0, 18.0, 18.5, 30.0])
    assert auroc(own, foreign) == pytest.approx((0 + 18.5 / 20 + 19 / 20 + 1) / 4)
    assert share_accepted(own, foreign) == 0.5  # 19 of 20 are kept: up to 18


def test_figures_of_test_foreign_and_shifted_photos(trusted: Bundle, photos: Path, tmp_path: Path) -> None:
    foreign, shifted = tmp_path / "foreign", tmp_path / "shifted"
    foreign.mkdir()
    for number in range(8):
        Image.new("RGB", (64, 64), (20 * number, 250, 250 - 20 * number)).save(foreign / f"{number}.png")
    shutil.copytree(photos / "test/Beet", shifted / "Beet")
    split = read_split(photos, "test")
    plan = plan_trust(trusted, split, CHOSEN, OtherPhotos(foreign, shifted))
    assert [*assess_trust(plan, ["int8-cpu/onnxruntime"])] == ["int8-cpu/onnxruntime"]
    figures = assess_trust(plan, [str(candidate) for candidate in CHOSEN])
    assert [*figures] == ["fp32/onnxruntime", "int8-cpu/onnxruntime"]
    own = figures["fp32/onnxruntime"]
    assert own.acceptance.photos == 60
    assert own.curve[-1].coverage == 1.0
    kinds = [(0.9, False), (0.9, True), (0.95, False)]  # 16 photos of each class: 19 are needed for 95 %
    assert [(rule.coverage, rule.by_class) for rule in own.sets] == [*kinds, *kinds]
    assert all(rule.covered.value > 0.75 for rule in own.sets)
    assert own.foreign is not None
    assert own.shifted is not None
    assert own.foreign.auroc > 0.9
    assert own.foreign.acceptance.photos == 8
    assert own.shifted.acceptance.photos == 20
    evaluation = with_trust(evaluate(trusted, split, CHOSEN, margin=0.5), figures)
    top1 = evaluation.candidates[0].top1.value
    assert own.curve[-1].risk == pytest.approx(1 - top1)
    assert from_dict(Evaluation, json.loads(json.dumps(to_dict(evaluation)))) == evaluation


def test_the_command_shows_and_stores_it(trusted: Bundle, photos: Path, tmp_path: Path) -> None:
    words = ("evaluate", trusted.path, "--data", photos, "--variant", "fp32", "--runtime", "onnxruntime")
    shown = call(*words)
    assert "When to trust it: 60 test images" in shown.stdout
    (file,) = (trusted.path / "results").glob("evaluate-*.json")
    (row,) = json.loads(file.read_text())["candidates"]
    assert "foreign" not in row["trust"]
    assert row["trust"]["acceptance"]["photos"] == 60
    assert "no such folder" in failure(*words, "--foreign", tmp_path / "none")
    (tmp_path / "Nut").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "Nut/0.png")
    assert "Nut is no class; expected folders of Beet, Cress, Eggplant" in failure(*words, "--shifted", tmp_path)


def test_without_trust_nothing_is_judged_and_other_photos_are_refused(bundle: Bundle, photos: Path) -> None:
    split = read_split(photos, "test")
    assert assess_trust(plan_trust(open_bundle(bundle.path), split, CHOSEN), ["fp32/onnxruntime"]) == {}
    words = ("evaluate", bundle.path, "--data", photos, "--foreign", photos / "test/Beet", "--name", "other")
    assert "make it: vegrt trust" in failure(*words)
