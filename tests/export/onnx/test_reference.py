"""A reference that answers by chance is refused, with the cause where the answers give it away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from tests.command_line import call, failure
from vegrt.backbones import build_network
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Manifest
from vegrt.calibration.pixels import PhotoSet, PixelStore
from vegrt.dataset.photos import read_split
from vegrt.errors import ModelError
from vegrt.export.onnx.parity import Evidence, load_evidence
from vegrt.export.onnx.reference import check_reference
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.runner import RuntimeName
from vegrt.photo.contract import Contract

Answer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Answering:
    """A runner that answers by a function."""

    runtime: RuntimeName = "onnxruntime"
    device = "cpu"

    def __init__(self, answer: Answer) -> None:
        self.logits = answer


@pytest.fixture(scope="module")
def evidence(bundle: Bundle, photos: Path) -> Evidence:
    return load_evidence(
        bundle, PhotoSet(read_split(photos, "validation").photos, PixelStore(bundle.manifest.contract)), 32
    )


@pytest.fixture(scope="module")
def honest(bundle: Bundle) -> Answer:
    return open_onnxruntime(bundle.file("model", "fp32")).logits


def test_a_trained_network_is_accepted_and_its_logits_are_returned(evidence: Evidence, honest: Answer) -> None:
    assert np.allclose(check_reference(evidence, Answering(honest)), honest(evidence.images), atol=1e-4)


@pytest.mark.parametrize(
    ("answer", "doubt"),
    [
        (
            lambda images: np.zeros((len(images), 3), np.float32),
            "it answers Beet to every photo; check that mean and std",
        ),
        (
            lambda images: np.random.default_rng(1).normal(size=(len(images), 3)).astype(np.float32),
            "check the order of the classes, mean and std",
        ),
    ],
)
def test_chance_without_a_cause_is_a_warning(
    evidence: Evidence, answer: Answer, doubt: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(check_reference(evidence, Answering(answer))) == len(evidence.images)
    first, second = caplog.messages
    assert "no better than chance" in first
    assert doubt in first
    assert "vegrt evaluate will refuse to use it as a reference" in second
    caplog.clear()
    check_reference(evidence, Answering(answer), untrained=True)
    assert "exported as an untrained network" in caplog.text


def test_a_wrong_order_of_classes_is_refused(evidence: Evidence, honest: Answer) -> None:
    def moved(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return honest(images)[:, [1, 2, 0]]

    with pytest.raises(
        ModelError, match=r"the classes are in another order: Beet is predicted as .*; nothing was written"
    ):
        check_reference(evidence, Answering(moved))


def test_an_order_that_explains_little_is_no_cause(
    evidence: Evidence, honest: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    """A network that has not learned puts some class by accident where another should be."""

    def half_moved(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = honest(images)[:, [1, 2, 0]]
        logits[1::2] = np.random.default_rng(1).normal(size=logits[1::2].shape)
        return logits

    assert len(check_reference(evidence, Answering(half_moved))) == len(evidence.images)
    assert "check the order of the classes, mean and std" in caplog.messages[0]


def test_answers_that_are_not_finite_are_refused_with_the_photo(evidence: Evidence, honest: Answer) -> None:
    def broken(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = honest(images)
        logits[(images == evidence.images[5]).all(axis=(1, 2, 3)), 1] = np.nan
        return logits

    with pytest.raises(ModelError, match=f"NaN or infinity to 1 of 48 photos, such as {evidence.photos[5].path};"):
        check_reference(evidence, Answering(broken), untrained=True)


def test_an_untrained_checkpoint_is_no_reference_unless_requested(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    out = tmp_path / "random"
    with changing(out) as staging:
        save_file(build_network("timm:test_resnet", 3).state_dict(), staging.file("weights.safetensors"))
        staging.add("weights.safetensors", "weights")
        model = {"backbone": "timm:test_resnet", "head": "gap"}
        staging.finish(Manifest("random", ("Beet", "Cress", "Eggplant"), Contract(32, 32), model))

    evaluate = ("evaluate", out, "--data", photos, "--runtime", "onnxruntime")
    assert call("export", out, "--data", photos, "--no-engine").exit_code == 0
    assert "no better than chance" in caplog.text
    message = failure(*evaluate)
    assert "no better than chance" in message
    assert "no candidate can be compared with it" in message
    assert call("export", out, "--data", photos, "--no-engine", "--untrained").exit_code == 0
    assert open_bundle(out).artifact("model", "fp32").details["untrained"] is True
    assert call("calibrate", out, "--data", photos, "--no-engine").exit_code == 0
    assert call(*evaluate).exit_code in (0, 3, 4)
