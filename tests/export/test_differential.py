"""Ten random small networks through a whole export: every runtime gives what torch, or the file as it is written, gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.slow.differential import flips, outcome_of
from tests.slow.sweep import make_data
from vegrt.infer.runtimes.openvino.runner import OpenVinoRunner


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("differential")
    make_data(folder)
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("seed", range(10))
def test_all_runtimes_agree_on_a_random_network(seed: int, data: Path) -> None:
    outcome = outcome_of(seed, data, rtx=seed == 0)
    assert (outcome.error, outcome.faults) == ("", [])
    assert len(outcome.difference) == 7
    assert bool(outcome.plan) == (seed == 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_runtime_that_answers_otherwise_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_answers = OpenVinoRunner.answers

    def reversed_answers(self: OpenVinoRunner, images: np.ndarray) -> object:
        answers = true_answers(self, images)
        return replace(answers, logits=answers.logits[:, ::-1])

    monkeypatch.setattr(OpenVinoRunner, "answers", reversed_answers)
    faults = outcome_of(1, data, rtx=False).faults
    assert {fault.partition(":")[0] for fault in faults} == {"fp32/openvino", "int8/openvino", "int8-cpu/openvino"}


def test_a_near_tie_is_told_from_another_answer() -> None:
    oracle = np.array([[1.0, 0.95, 0.0], [1.0, 0.95, 0.0], [1.0, 0.95, 0.0]], np.float32)
    answers = np.array([[1.0, 0.95, 0.0], [0.95, 1.0, 0.0], [0.0, 0.5, 1.0]], np.float32)
    assert flips(answers, oracle, 0.04) == (2, 1)
