"""A model that was just built answers the golden photos, or is refused. Here with the models that a CPU runs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.errors import EngineError
from vegrt.evaluate.golden import TOLERANCE, GoldenPhotos, answer_golden, check_golden, load_golden
from vegrt.infer.runtimes.candidates import Candidate, candidates
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Runner, RuntimeName


class Changed:
    """A real runner whose images or logits are changed, as by an engine that was built wrongly."""

    def __init__(self, runner: Runner, *, swap: bool = False, factor: float = 1.0) -> None:
        self.runtime: RuntimeName = runner.runtime
        self.device = runner.device
        self._runner, self._swap, self._factor = runner, swap, factor

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = np.ascontiguousarray(images[..., ::-1]) if self._swap else images
        return self._runner.logits(pixels) * np.float32(self._factor)


@pytest.fixture(scope="module")
def golden(bundle: Bundle) -> GoldenPhotos:
    return load_golden(bundle)


def test_the_stored_logits_are_those_of_fp32(bundle: Bundle, golden: GoldenPhotos) -> None:
    assert golden.same_pixels == len(golden.images) == len(golden.logits) == 4
    logits = open_candidate(bundle, Candidate("fp32", "onnxruntime")).logits(golden.images)
    np.testing.assert_allclose(logits, golden.logits, atol=1e-4)


def test_every_model_that_runs_here_answers_them(bundle: Bundle, golden: GoldenPhotos) -> None:
    for candidate in candidates(bundle, device="cpu"):
        answer = check_golden("model", open_candidate(bundle, candidate), candidate.variant, golden)
        assert answer.cosine >= answer.minimum == TOLERANCE[candidate.variant], candidate


@pytest.mark.parametrize("change", [{"swap": True}, {"factor": float("nan")}, {"factor": -1.0}])
def test_a_model_that_answers_wrongly_is_refused(
    bundle: Bundle, golden: GoldenPhotos, change: dict[str, float]
) -> None:
    runner = Changed(open_candidate(bundle, Candidate("fp32", "onnxruntime")), **change)  # type: ignore[arg-type]
    assert not answer_golden(runner, golden, TOLERANCE["fp32"]).is_right
    with pytest.raises(
        EngineError, match=r"int8\.engine: answers 4 golden photos wrongly \(cosine .*\); it is not added"
    ):
        check_golden("engines/x/int8.engine", runner, "fp32", golden)
