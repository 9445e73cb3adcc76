"""OpenVINO with several requests at once: the same answers, in order, and errors that leave it usable."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import ModelError
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.openvino.compiled import compile_model, compiled_models
from vegrt.infer.runtimes.openvino.runner import OpenVinoRunner, StreamsRunner
from vegrt.infer.runtimes.overlap import answered
from vegrt.photo.preprocess import load_image

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def images(bundle: Bundle, test_split: Split) -> NDArray[np.uint8]:
    return np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])


def streams(bundle: Bundle, variant: str) -> StreamsRunner:
    runner = open_candidate(bundle, Candidate(variant, "openvino"), threads=2, throughput=True)
    assert isinstance(runner, StreamsRunner)
    return runner


@pytest.mark.parametrize("variant", ["fp32", "int8", "int8-cpu"])
def test_streams_give_the_answers_of_one_request(bundle: Bundle, images: NDArray[np.uint8], variant: str) -> None:
    expected = open_candidate(bundle, Candidate(variant, "openvino"), threads=2).logits(images)
    runner = streams(bundle, variant)
    runner.prepare(8)
    buffer = np.empty_like(images[:8])  # as in `vegrt infer`, where later batches overwrite the images of earlier ones
    starts = range(0, len(images), 8)

    def batch(start: int) -> NDArray[np.uint8]:
        size = len(images[start : start + 8])
        buffer[:size] = images[start : start + 8]
        return buffer[:size]

    got = [answers.logits for _, answers in answered(runner, iter(starts), batch, lambda: True) if answers]
    np.testing.assert_array_equal(np.concatenate(got), expected)
    np.testing.assert_array_equal(runner.logits(images[:3]), expected[:3])
    assert runner.logits(images[:0]).shape == (0, len(bundle.manifest.classes))


def test_as_many_batches_as_streams_are_in_progress(bundle: Bundle, images: NDArray[np.uint8]) -> None:
    runner = streams(bundle, "int8-cpu")
    expected = runner.logits(images)
    order = list(islice(cycle(range(len(images))), 2 * runner.lanes + 1))
    begun = [runner.begin(images[row : row + 1]) for row in order]  # more than there are lanes: the oldest are finished
    np.testing.assert_array_equal(np.concatenate([runner.finish(each).logits for each in begun]), expected[order])


def test_a_batch_that_does_not_fit_is_an_error_and_the_next_is_answered(
    bundle: Bundle, images: NDArray[np.uint8]
) -> None:
    runner = streams(bundle, "fp32")
    expected = runner.logits(images[:2])
    with pytest.raises(ModelError, match=r"OpenVINO cannot run it on images of shape \(2, 48, 48, 1\)"):
        runner.logits(np.zeros((2, 48, 48, 1), np.uint8))
    np.testing.assert_array_equal(runner.logits(images[:2]), expected)


def test_with_embeddings_there_is_one_request(bundle: Bundle) -> None:
    candidate = Candidate("fp32", "openvino")
    assert isinstance(open_candidate(bundle, candidate, embeddings=True, throughput=True), OpenVinoRunner)


def test_the_hint_reaches_openvino_from_the_users_cache_too(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file, sha256 = bundle.file("model", "int8-cpu"), bundle.artifact("model", "int8-cpu").sha256
    for throughput, hint in ((False, "LATENCY"), (True, "THROUGHPUT")):
        first, again = (compile_model(file, throughput=throughput, sha256=sha256) for _ in range(2))
        assert str(again.get_property("PERFORMANCE_HINT")).endswith(hint)
        streams = "OPTIMAL_NUMBER_OF_INFER_REQUESTS"
        assert again.get_property(streams) == first.get_property(streams)
        assert throughput or first.get_property(streams) == 1
    assert len(list(compiled_models().folder.iterdir())) == 2
