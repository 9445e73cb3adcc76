from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.command_line import answer, call, failure
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.errors import DataError, VegrtError
from vegrt.infer.api import Model, load
from vegrt.infer.drift.counters import Counters, open_counters, read_counters
from vegrt.infer.drift.periods import DAYS, HOURS
from vegrt.infer.drift.record import CountersFile
from vegrt.infer.drift.verdict import judge_drift
from vegrt.infer.trust.store import load_trust, save_trust

ONLY_FP32 = ("--variant", "fp32", "--runtime", "onnxruntime")


@pytest.fixture
def model(trusted: Bundle) -> Model:
    return load(trusted.path, variant="fp32", runtime="onnxruntime", reject=True)


def opened(model: Model, path: Path, clock: list[float] | None = None) -> Counters:
    assert model.judge is not None
    now = clock or [1_000_000.0]
    return open_counters(path, model.bundle, model.candidate, model.judge, lambda: now[0])


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    random = np.random.default_rng(0)
    for number in range(120):
        Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


def test_a_run_counts_and_drift_says_what_it_means(trusted: Bundle, photos: Path, noise: Path, tmp_path: Path) -> None:
    file = tmp_path / "counters.json"
    words = ("infer", "--bundle", trusted.path, *ONLY_FP32, "--reject", "--counters", file)
    assert call(*words, photos / "test").exit_code == 0
    stored = read_counters(file)
    assert stored.photos == stored.total.photos == sum(period.photos for period in stored.periods) == 60
    told = call("drift", trusted.path, file)
    assert told.exit_code == 4
    assert "too few photos to say: a look needs 100" in told.stdout
    assert call(*words, photos / "test").exit_code == 0
    told = call("drift", trusted.path, file)
    assert told.exit_code == 0, told.output
    assert "photos look as in validation\n" in told.stdout
    assert call(*words, noise).exit_code == 0
    told = call("drift", trusted.path, file)
    assert told.exit_code == 3
    assert "photos look different: the 100 photos up to photo 200" in told.stdout
    assert "photos judged foreign:" in told.stdout
    assert "at most 1% of unchanged devices" in told.stdout
    values = answer("drift", trusted.path, file, exit_code=3)
    assert values["verdict"] == "moved"
    assert values["photos"]["latest"]["findings"][0]["signal"] == "foreign"
    assert values["overview"]["photos"] == 240
    assert call("drift", trusted.path, file, "--last", "1").exit_code == 3


def test_a_changed_mix_moves_nothing_unless_it_is_asked_for(trusted: Bundle, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "counters.json"
    words = ("infer", "--bundle", trusted.path, *ONLY_FP32, "--reject", "--counters", file)
    for _ in range(5):
        assert call(*words, photos / "test/Beet").exit_code == 0
    told = call("drift", trusted.path, file)
    assert told.exit_code == 0, told.output
    assert "mix of classes changed" in told.stdout
    assert "share of Beet: 33 % -> 100 %" in told.stdout
    assert call("drift", trusted.path, file, "--mix").exit_code == 3


def test_only_alarms_of_the_last_hours_count(model: Model, tmp_path: Path) -> None:
    file, clock = tmp_path / "counters.json", [1_000_000.0]
    counters = opened(model, file, clock)
    images = np.random.default_rng(1).integers(0, 256, (100, *model.shape), np.uint8)
    model.predict(images)
    counters.save()
    stored = read_counters(file)
    for later_s, verdict in ((3600, "moved"), (3 * 3600, "too few photos")):
        drift = judge_drift(model.bundle, stored, file, now=1_000_000 + later_s, hours=2)
        assert drift.verdict == verdict
    assert judge_drift(model.bundle, stored, file, now=10**9).verdict == "moved"


def test_counting_goes_on_where_the_file_ends(model: Model, tmp_path: Path) -> None:
    images = np.random.default_rng(2).integers(0, 256, (90, *model.shape), np.uint8)
    whole = opened(model, tmp_path / "whole.json")
    model.predict(images)
    for part in (images[:37], images[37:]):
        counters = opened(model, tmp_path / "parts.json")
        model.predict(part)
        counters.save()
    assert read_counters(tmp_path / "parts.json") == whole.state()
    assert CountersFile.from_dict(json.loads(json.dumps(whole.state().to_dict()))) == whole.state()


def test_what_decides_about_the_same_answers_does_not_change(model: Model, tmp_path: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (20, *model.shape), np.uint8)
    before = model.predict(images)
    counters = opened(model, tmp_path / "counters.json")
    assert model.predict(images) == before
    decisions = [answered.judgement.decision for answered in before if answered.judgement]
    total = counters.state().total
    assert sum(total.scores[counters.state().edges.foreign :]) == decisions.count("foreign")
    assert total.unsure == decisions.count("unsure")


def test_old_hours_become_days_and_old_days_are_dropped(model: Model, tmp_path: Path) -> None:
    clock = [0.0]
    counters = opened(model, tmp_path / "counters.json", clock)
    image = np.zeros((1, *model.shape), np.uint8)
    hours = 24 * (DAYS + 5) + HOURS
    columns = model.columns(image)
    for hour in range(hours):
        clock[0] = 3600.0 * hour + 5
        model.predictions_of(columns, 1)
    periods = counters.state().periods
    assert [period.hours for period in periods] == [24] * DAYS + [1] * HOURS
    assert [period.photos for period in periods] == [24] * DAYS + [1] * HOURS
    assert periods[-1].start == 3600 * (hours - 1)
    assert counters.state().photos == hours
    clock[0] = 7.0  # a clock that goes back
    model.predictions_of(columns, 1)
    assert counters.state().periods[-1].photos == 2


def test_counters_of_something_else_are_refused(
    model: Model, trusted: Bundle, bundle: Bundle, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "counters.json"
    counters = opened(model, file)
    stored = counters.state()
    for changed, fault in (
        ({"artifact_sha256": "0" * 64}, "this is another fp32/onnxruntime of"),
        ({"key": "int8/onnxruntime"}, "counts int8/onnxruntime of"),
        ({"trust_sha256": "0" * 64}, "counted by an earlier trust.json"),
    ):
        file.write_text(json.dumps(replace(stored, **changed).to_dict()))  # type: ignore[arg-type]
        with pytest.raises(DataError, match=fault):
            opened(model, file)
    assert "knows nothing" in failure("drift", bundle.path, file)
    file.write_text("{}")
    assert "is no counters file (schema is not vegrt-counters)" in failure("drift", trusted.path, file)
    assert "cannot be read" in failure("drift", trusted.path, tmp_path / "none.json")
    photo = photos / "test/Beet/000.jpg"
    assert "add --reject" in failure("infer", photo, "--bundle", trusted.path, "--counters", file)


def test_a_file_that_another_process_writes_is_left_alone(model: Model, tmp_path: Path) -> None:
    first = opened(model, tmp_path / "counters.json")
    second = opened(model, tmp_path / "counters.json")
    second.save()
    with pytest.raises(VegrtError, match="changed by another process; give every process a file of its own"):
        first.save()


def test_the_file_is_written_once_a_minute(model: Model, tmp_path: Path) -> None:
    file, clock = tmp_path / "counters.json", [1000.0]
    counters = opened(model, file, clock)
    model.predict(np.zeros((1, *model.shape), np.uint8))
    clock[0] += 59
    counters.save_sometimes()
    assert read_counters(file).photos == 0
    clock[0] += 1
    counters.save_sometimes()
    assert read_counters(file).photos == 1


def test_a_trust_file_without_histograms_is_read_and_named_with_its_cure(
    trusted: Bundle, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(trusted.path, tmp_path / "old")
    trust = load_trust(trusted)
    assert trust is not None
    (row,) = trust.candidates
    assert row.reference is not None
    assert sum(sum(counts.confidence) for counts in row.reference.classes) == 48
    save_trust(tmp_path / "old", replace(trust, candidates=(replace(row, reference=None),)))
    words = ("infer", photos / "test/Beet/000.jpg", "--bundle", tmp_path / "old", *ONLY_FP32, "--reject")
    assert call(*words).exit_code == 0
    assert "has no histograms to compare with; make it again: vegrt trust" in failure(
        *words, "--counters", tmp_path / "counters.json"
    )
    assert open_bundle(tmp_path / "old").has("trust")
