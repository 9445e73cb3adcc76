"""Three broken devices fail the gate, and each is told what is wrong with it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.command_line import answer
from tests.conftest import CLASSES, draw_photo, made_once
from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import read_split
from vegrt.evaluate.device.faults import suspects
from vegrt.evaluate.wording import cause_words
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.open import open_candidate
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image, prepare
from vegrt.results.convert import from_dict
from vegrt.results.evaluation import ClassesPermuted, Evaluation, Gate, PixelsDiffer

FP32 = Candidate("fp32", "onnxruntime")


@pytest.fixture(scope="module")
def large_photos(trained: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test photos six times as large as the input that show another class to who does not antialias.

    Bilinear interpolation without antialias reads four pixels of each 36; nearest neighbour reads one of these four.
    """
    contract, (side, _, _) = trained.manifest.contract, trained.manifest.contract.shape

    def draw(root: Path) -> None:
        random = np.random.default_rng(3)
        for channel, name in enumerate(CLASSES):
            (root / "test" / name).mkdir(parents=True)
            for number in range(12):
                shown, hidden = (
                    prepare(draw_photo(random, shown_class), contract).astype(float)
                    for shown_class in (channel, int(random.integers(3)))
                )
                pixels = shown.repeat(6, axis=0).repeat(6, axis=1)
                for row, column in (
                    (2, 2),
                    (2, 3),
                    (3, 2),
                ):  # the fourth stays: the mean of the four is the hidden photo
                    pixels[row::6, column::6] = (4 * hidden - shown) / 3
                assert pixels.shape == (6 * side, 6 * side, 3)
                image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
                image.save(root / "test" / name / f"{number:03d}.png")

    return made_once(tmp_path_factory, "large-photos", draw)


def device_file(file: Path, photos: Path, bundle: Bundle, contract: Contract, *, bgr: bool = False) -> Path:
    """Write what a device answers that prepares pixels by this contract: top-1 alone, as class indices."""
    split = read_split(photos, "test")
    images = np.stack([load_image(photo.path, contract) for photo in split.photos])
    logits = open_candidate(bundle, FP32).logits(np.ascontiguousarray(images[..., ::-1] if bgr else images))
    return write_top1(file, [split.relative(photo) for photo in split.photos], logits.argmax(axis=1))


def write_top1(file: Path, names: list[str], top1: NDArray[np.intp]) -> Path:
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("photo", "top1"), *zip(names, top1.tolist(), strict=True)])
    return file


def judged(bundle: Bundle, photos: Path, file: Path, *, exit_code: int = 3) -> Gate:
    """Return the gate of the device whose answers are in a file, as the command prints it."""
    words = ["evaluate", bundle.path, "--data", photos, "--answers", file, "--device-name", "Orin", "--name", "field"]
    return from_dict(Evaluation, answer(*words, exit_code=exit_code)).candidates[1].gate


def test_another_class_order_is_named(copied: Bundle, photos: Path, tmp_path: Path) -> None:
    file = device_file(tmp_path / "orin.csv", photos, copied, copied.manifest.contract)
    lines = file.read_text().splitlines()
    moved = {"0": "1", "1": "2", "2": "0"}
    cells = [line.split(",") for line in lines[1:]]
    file.write_text("\n".join([lines[0], *(f"{name},{moved[top1]}" for name, top1 in cells)]))
    gate = judged(copied, photos, file)
    (cause,) = gate.causes
    assert isinstance(cause, ClassesPermuted)
    assert {(move.truth, move.answer) for move in cause.moves} == {(0, 1), (1, 2), (2, 0)}
    assert "look permuted (Beet is predicted as Cress" in cause_words(cause, CLASSES)


def test_bgr_pixels_are_named(copied: Bundle, photos: Path, tmp_path: Path) -> None:
    """The first and the last class differ by colour alone, so another class order remains possible."""
    file = device_file(tmp_path / "orin.csv", photos, copied, copied.manifest.contract, bgr=True)
    cause = judged(copied, photos, file).causes[0]
    assert isinstance(cause, PixelsDiffer)
    assert (cause.faults, cause.photos, cause.agreeing_faulty) == (("swapped-colours",), 60, 60)
    assert cause.agreeing < 40


def test_pixels_without_antialias_are_named(copied: Bundle, large_photos: Path, tmp_path: Path) -> None:
    contract = replace(copied.manifest.contract, antialias=False)
    file = device_file(tmp_path / "orin.csv", large_photos, copied, contract)
    (cause,) = judged(copied, large_photos, file).causes
    assert isinstance(cause, PixelsDiffer)
    assert (cause.faults, cause.agreeing_faulty) == (("no-antialias",), 36)
    assert cause.agreeing < 27
    evidence = f"pixels resized without antialias: 36 of 36, with fp32 on right pixels: {cause.agreeing} of 36"
    assert cause_words(cause, CLASSES) == f"answers agree with fp32 on {evidence}"


def test_two_faults_at_once_are_named(copied: Bundle, large_photos: Path, tmp_path: Path) -> None:
    contract = replace(copied.manifest.contract, antialias=False)
    file = device_file(tmp_path / "orin.csv", large_photos, copied, contract, bgr=True)
    cause = judged(copied, large_photos, file).causes[0]
    assert isinstance(cause, PixelsDiffer)
    assert {*cause.faults} == {"swapped-colours", "no-antialias"}
    assert cause.agreeing_faulty == 36


def test_wrong_answers_without_a_known_cause_get_none(copied: Bundle, photos: Path, tmp_path: Path) -> None:
    split = read_split(photos, "test")
    names = [split.relative(photo) for photo in split.photos]
    drawn = np.random.default_rng(1).integers(0, 3, len(names))
    assert judged(copied, photos, write_top1(tmp_path / "orin.csv", names, drawn)).causes == ()


def test_right_answers_pass_without_a_cause(copied: Bundle, photos: Path, tmp_path: Path) -> None:
    file = device_file(tmp_path / "orin.csv", photos, copied, copied.manifest.contract)
    gate = judged(copied, photos, file, exit_code=4)  # 60 photos are too few to decide half a point
    assert (gate.verdict, gate.causes) == ("INCONCLUSIVE", ())


def test_only_faults_that_a_contract_can_have_are_suspected() -> None:
    grey = Contract(fit="stretch", interpolation="nearest", mean=(0.5,), std=(0.5,), network_color="L")
    assert suspects(grey) == ["bilinear", "bicubic", "cropped", "not-normalised", "half-normalised"]
    assert "no-antialias" in suspects(Contract())
    assert "no-antialias" not in suspects(Contract(antialias=False))
