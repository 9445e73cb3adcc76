"""Which photos may calibrate, on real files. No network is needed."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.command_line import failure
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Manifest
from vegrt.calibration.photos import MIN_PHOTOS, NOISE_CORRELATION, calibration_photos, correlation
from vegrt.dataset.photos import read_split
from vegrt.errors import DataError
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image
from vegrt.report.run.audit_page import write_audit
from vegrt.train.data.audit import audit
from vegrt.train.data.audit_file import near_test_photos

CLASSES = ("Beet", "Cress", "Eggplant")
CONTRACT = Contract(48, 48)
COPIES = 10


@pytest.fixture
def data(photos: Path, tmp_path: Path) -> Path:
    """Data of which ten validation photos of Cress show a test photo again, at another quality."""
    shutil.copytree(photos, tmp_path / "data")
    for number in range(COPIES):
        photo = Image.open(tmp_path / f"data/test/Cress/{number:03d}.jpg")
        photo.save(tmp_path / f"data/validation/Cress/{number:03d}.jpg", quality=60)
    return tmp_path / "data"


def noise(random: np.random.Generator, side: int) -> Image.Image:
    return Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8))


def test_photos_correlate_with_themselves_and_noise_does_not(photos: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for side, suffix in ((48, "png"), (64, "png"), (224, "png"), (224, "jpg"), (640, "jpg")):
        noise(random, side).save(tmp_path / f"noise.{suffix}")
        for size in (48, 100, 224):
            image = load_image(tmp_path / f"noise.{suffix}", Contract(size, size))
            assert correlation(image[None])[0] < NOISE_CORRELATION
    pixels = [load_image(photo.path, CONTRACT) for photo in read_split(photos, "validation").photos]
    assert correlation(np.stack(pixels)).min() > NOISE_CORRELATION  # though they are mostly noise themselves
    ramp = np.broadcast_to(np.arange(48, dtype=np.uint8)[:, None, None], (48, 48, 3))
    flat = np.full((48, 48, 3), 255, np.uint8)
    assert correlation(np.stack([ramp, flat])).min() > 0.8
    assert correlation(flat[None, :9, :9])[0] == 1  # smaller than the grid of cells


@pytest.mark.parametrize(("noisy", "refused"), [(48, True), (44, True), (40, False)])
def test_random_data_is_refused(data: Path, noisy: int, refused: bool) -> None:
    random = np.random.default_rng(1)
    for path in sorted((data / "validation").rglob("*.jpg"))[:noisy]:
        noise(random, 128).save(path)
    if refused:
        with pytest.raises(DataError, match=f"validation: {noisy} of 48 photos are noise"):
            calibration_photos(data, CLASSES, CONTRACT)
    else:
        assert len(calibration_photos(data, CLASSES, CONTRACT).used) == 48


def test_near_duplicates_of_test_photos_are_left_out_with_one_warning(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_audit(audit(data), data, tmp_path / "audit")
    near = near_test_photos(tmp_path / "audit/audit.json", data, CLASSES)
    assert near == {f"Cress/{number:03d}.jpg" for number in range(COPIES)}
    with caplog.at_level(logging.WARNING):
        photos = calibration_photos(data, CLASSES, CONTRACT, near_test=near)
    used = photos.used.photos
    assert photos.left_out == COPIES
    assert len(used) == 48 - COPIES
    assert not {photo.path.relative_to(data / "validation").as_posix() for photo in used} & near
    left_out, few = (record.getMessage() for record in caplog.records)
    assert (
        "10 of 48 photos are left out of calibration: the audit lists them as near duplicates of test photos"
        in left_out
    )
    assert "only 38 photos; 128 or more calibrate better" in few


def test_an_exact_copy_of_a_near_duplicate_is_near_too(data: Path, tmp_path: Path) -> None:
    (data / "train/Cress/seen.jpg").write_bytes((data / "validation/Cress/003.jpg").read_bytes())
    write_audit(audit(data), data, tmp_path / "audit")  # names one photo of each group of equal ones: that in train
    assert "Cress/003.jpg" in near_test_photos(tmp_path / "audit/audit.json", data, CLASSES)


def test_an_audit_of_other_photos_is_refused(data: Path, tmp_path: Path) -> None:
    write_audit(audit(data), data, tmp_path / "audit")
    shutil.copy(data / "train/Beet/000.jpg", data / "validation/Beet/new.jpg")
    with pytest.raises(DataError, match=r"made for other photos than those in .*validation"):
        near_test_photos(tmp_path / "audit/audit.json", data, CLASSES)


def test_export_uses_the_named_audit_or_one_in_this_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with changing(tmp_path / "model") as staging:
        staging.file("weights.safetensors").write_bytes(b"are not read")
        staging.add("weights.safetensors", "weights")
        staging.finish(Manifest("model", CLASSES, CONTRACT, {"backbone": "resnet18", "head": "gap"}))
    for path in sorted((data / "validation/Beet").iterdir())[: 48 - COPIES - MIN_PHOTOS + 1]:
        path.write_bytes(b"no longer an image")
    write_audit(audit(data), data, tmp_path / "elsewhere")
    words = ["export", "model", "--data", str(data), "--no-engine"]
    message = "31 readable photos without the 10 near duplicates of test photos; calibration needs at least 32"
    assert message in failure(*words, "--audit", "elsewhere/audit.json")
    assert "no such file" in failure(*words, "--audit", "nowhere.json")
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "audit")
    assert message in failure(*words)
    (data / "validation/Beet/010.jpg").write_bytes(b"no image either")  # the audit that lies here no longer fits
    assert "does not fit resnet18" in failure(*words)  # so nothing is left out, and export goes on


def test_test_photos_that_cannot_be_read_are_skipped_and_counted(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They cannot have been calibrated on; the readable ones are still compared."""
    (data / "test/Cress/gone.jpg").symlink_to("/proc/self/mem")  # there, and yet not to be read
    with caplog.at_level(logging.WARNING):
        assert len(calibration_photos(data, CLASSES, CONTRACT).used) == 48
    assert "test/Cress/gone.jpg: cannot be read (Input/output error); make it readable; skipped" in caplog.text
    assert "1 of 61 photos cannot be read and were not compared with the calibration photos" in caplog.text
    shutil.copy(data / "test/Beet/003.jpg", data / "validation/Beet/leaked.jpg")
    with pytest.raises(DataError, match=r"leaked\.jpg: also in the test split"):
        calibration_photos(data, CLASSES, CONTRACT)
