"""Contracts are guessed from the answers of networks whose contract is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tests.command_line import answer, call, failure
from tests.conftest import CLASSES
from tests.export.imported.classifiers import FLOAT, tensor
from vegrt.dataset.photos import read_labelled
from vegrt.export.guess.answers import Answers
from vegrt.export.guess.guess import guess_contract, in_turn
from vegrt.export.guess.race import Step, is_clearly_worse, losses, race
from vegrt.export.guess.result import Guess
from vegrt.export.guess.text import contract_toml
from vegrt.export.imported.source import read_contract
from vegrt.photo.contract import Contract

BLUE_FIRST = np.eye(3)[::-1]


def write_network(file: Path, weights: NDArray[np.float64], *sides: int | str) -> None:
    """Write a network for BGR pixels in 0..255: it cuts off what is out of this range, and weighs the mean of each channel."""
    nodes = [
        helper.make_node("Clip", ["pixels", "low", "high"], ["cut"]),
        helper.make_node("ReduceMean", ["cut"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["scores"]),
    ]
    values = {"low": np.array(0), "high": np.array(255), "weights": weights}
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    inputs = [tensor("pixels", FLOAT, "N", 3, *sides)]
    graph = helper.make_graph(nodes, "means", inputs, [tensor("scores", FLOAT, "N", 3)], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), file)


def test_channels_and_scale_are_guessed_and_what_no_photo_tells_apart_is_named(photos: Path, tmp_path: Path) -> None:
    write_network(tmp_path / "model.onnx", BLUE_FIRST, 48, 48)
    guess = guess_contract(tmp_path / "model.onnx", read_labelled(photos), photos=48)
    contract, rest = guess.best.contract, guess.ranking[1:]
    assert (contract.network_color, contract.mean, contract.std) == ("BGR", (0, 0, 0), (1 / 255,) * 3)
    assert guess.best.top1.value > 0.9
    assert (guess.layout, guess.photos, guess.moves) == ("NCHW", 48, {})
    as_rgb = [row for row in rest if row.contract.network_color == "RGB"]
    assert as_rgb
    assert all(row.worse for row in as_rgb if row.photos >= 32)
    assert {row.contract.interpolation for row in guess.ties} >= {"area"}  # the mean of a photo hardly depends on it
    assert Guess.from_dict(json.loads(json.dumps(guess.to_dict()))) == guess


def test_contracts_that_are_close_to_the_best_answer_more_photos(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_network(tmp_path / "model.onnx", BLUE_FIRST, 48, 48)
    monkeypatch.setattr("vegrt.export.guess.guess.LAST", (Step(32, 3),))
    monkeypatch.setattr("vegrt.export.guess.guess.UNDECIDED", (Step(40, 3),))
    counts = [row.photos for row in guess_contract(tmp_path / "model.onnx", read_labelled(photos)).ranking]
    assert counts[:2] == [48, 48]  # the best one, and one that was still close to it
    assert counts.count(32) > 1  # what was clearly worse stopped there
    few = guess_contract(tmp_path / "model.onnx", read_labelled(photos), photos=36)
    assert few.photos == 36


def test_photos_that_cannot_decide_are_not_used_up(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All contracts that are left give the network the same numbers."""
    write_network(tmp_path / "model.onnx", BLUE_FIRST, 64, 72)
    usual = Contract((64, 72), (64, 72), (0.0,) * 3, (1 / 255,) * 3, network_color="BGR")
    for factor in ("normalised", "coarse", "fitted", "interpolated"):
        monkeypatch.setattr(
            f"vegrt.export.guess.guess.{factor}",
            lambda _: [replace(usual, fit=fit) for fit in ("stretch", "letterbox")],
        )
    monkeypatch.setattr("vegrt.export.guess.guess.LAST", (Step(32, 1),))
    guess = guess_contract(tmp_path / "model.onnx", read_labelled(photos))
    assert guess.best.same_pixels
    assert guess.photos == 32


def test_the_command_writes_the_contract_that_export_takes(photos: Path, tmp_path: Path) -> None:
    """The size is open in this graph, the data is a folder of class folders, and the scores are not in the folders' order."""
    write_network(tmp_path / "model.onnx", np.eye(3), "H", "W")
    (tmp_path / "names.txt").write_text("\n".join(reversed(CLASSES)))
    words = ["contract", "guess", "--from-onnx", tmp_path / "model.onnx", "--data", photos / "validation"]
    words += ["--classes", tmp_path / "names.txt", "--photos", 12, "--out", tmp_path / "contract.toml"]
    shown = answer(*words)
    best = Guess.from_dict(shown).best.contract
    assert read_contract(tmp_path / "contract.toml") == best
    assert (best.network_color, best.std) == ("BGR", (1 / 255,) * 3)
    assert shown["command"].split()[:3] == ["vegrt", "export", "models/model"]
    assert f"--contract {tmp_path / 'contract.toml'}" in shown["command"]
    assert "contract.toml: exists" in failure(*words)


def test_a_list_of_swapped_classes_is_named(photos: Path, tmp_path: Path) -> None:
    """Only a third of the answers is right then, with any contract."""
    write_network(tmp_path / "model.onnx", 4 * BLUE_FIRST, 48, 48)
    (tmp_path / "names.txt").write_text("Cress\nBeet\nEggplant")
    words = ["contract", "guess", "--from-onnx", tmp_path / "model.onnx", "--data", photos, "--photos", 32]
    table = call(*words).stdout
    assert "best: 0..255, BGR; " in table
    assert "cannot be told apart from: " in table
    assert "--contract contract.toml" in table
    message = failure(*words, "--classes", tmp_path / "names.txt")
    assert "no better than chance; the order of its classes may differ from that of the folders (" in message
    assert "Beet is predicted as Cress" in message


def test_a_network_that_is_right_by_chance_gets_no_contract(photos: Path, tmp_path: Path) -> None:
    write_network(tmp_path / "model.onnx", np.zeros((3, 3)), 48, 48)
    message = failure("contract", "guess", "--from-onnx", tmp_path / "model.onnx", "--data", photos, "--photos", 24)
    assert "no better than chance; the order of its classes may differ from that of the folders: give it" in message


@pytest.mark.parametrize(
    "contract",
    [
        Contract(),
        Contract((36, 48), (40, 56), (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3, network_color="BGR"),
        Contract(48, 48, (0.5,), (0.25,), fit="letterbox", fill=(114, 114, 114), network_color="L", antialias=False),
    ],
)
def test_a_contract_in_toml_is_read_as_the_same(contract: Contract, tmp_path: Path) -> None:
    (tmp_path / "contract.toml").write_text(contract_toml(contract))
    assert read_contract(tmp_path / "contract.toml") == contract


def test_photos_are_taken_from_all_classes_in_turn(photos: Path) -> None:
    labels = [photo.label for photo in in_turn(read_labelled(photos))]
    assert len(labels) == 48
    assert all(sorted(labels[start : start + 3]) == [0, 1, 2] for start in range(0, 48, 3))


def test_a_score_depends_on_the_order_of_probabilities_more_than_on_their_scale() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 200)
    logits = (random.normal(0, 1, (200, 5)) + 3 * np.eye(5)[labels]).astype(np.float32)
    weaker = (logits - 1.5 * np.eye(5)[labels]).astype(np.float32)
    own, louder, worse = (losses(each, labels) for each in (logits, 1.6 * logits, weaker))
    assert abs(own.mean() - louder.mean()) < 0.01
    assert is_clearly_worse(worse, own)
    assert not is_clearly_worse(own, worse)
    assert not is_clearly_worse(own, own)


class Told:
    """Answers that are right, each contract's by its own margin in logits."""

    def __init__(self, margins: dict[Contract, float]) -> None:
        self.photos, self._margins = self, margins

    def count(self, wanted: int) -> int:
        return wanted

    def labels(self, count: int) -> NDArray[np.int_]:
        return np.arange(count) % 3

    def signature(self, contract: Contract, count: int) -> Contract:
        return contract

    def logits(self, contract: Contract, count: int) -> NDArray[np.float32]:
        margins = self._margins[contract] + np.sin(np.arange(count))
        return (margins[:, None] * np.eye(3)[self.labels(count)]).astype(np.float32)


def test_a_rare_contract_is_not_dropped_before_its_photos_can_outweigh_that() -> None:
    usual, rare = Contract(), Contract(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), network_color="BGR")
    answers = cast(Answers, Told({usual: 2.0, rare: 2.15}))
    assert race(answers, [usual, rare], [Step(9, 1)]) == [usual, rare]
    assert race(answers, [usual, rare], [Step(9, 1), Step(900, 1)]) == [rare]
