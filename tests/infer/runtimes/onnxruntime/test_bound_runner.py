"""What runs on GPUs, with the CPU as the device and the real runtime: bindings stay, two batches at once, nothing is mixed up."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import ModelError
from vegrt.infer.runtimes.onnxruntime.runner import LANES, BoundRunner, OnnxRuntimeRunner
from vegrt.infer.runtimes.onnxruntime.session import open_session
from vegrt.infer.runtimes.overlap import answered
from vegrt.photo.preprocess import load_image

WAIT_S = 30.0


@pytest.fixture(scope="module")
def images(bundle: Bundle, test_split: Split) -> NDArray[np.uint8]:
    return np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])


@pytest.fixture(scope="module")
def session(bundle: Bundle) -> Any:
    return open_session(bundle.file("model", "fp32"))


@pytest.fixture(scope="module")
def want(session: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return OnnxRuntimeRunner(session, "cpu").logits(images)


class WatchedSession:
    """A real session that counts its bindings; `together`: as many runs have to be in progress at once."""

    def __init__(self, session: Any, *, together: int = 1) -> None:
        self._session, self._gate = session, threading.Barrier(together)
        self.bindings = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def io_binding(self) -> Any:
        self.bindings += 1
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any) -> None:
        self._gate.wait(WAIT_S)
        self._session.run_with_iobinding(binding)


def test_bound_inputs_and_parts_give_the_same_logits_and_leave_the_images_alone(
    session: Any, images: NDArray[np.uint8], want: NDArray[np.float32]
) -> None:
    runner, buffer = BoundRunner(session, None, largest=8), images.copy()
    for size in (len(buffer), 8, 8, 3):
        np.testing.assert_allclose(runner.logits(buffer[:size]), want[:size], rtol=1e-4, atol=1e-4)
    assert np.array_equal(buffer, images)
    np.testing.assert_allclose(runner.logits(buffer[::2]), want[::2], rtol=1e-4, atol=1e-4)  # not contiguous


def test_two_batches_run_at_once_and_get_their_own_answers(
    session: Any, images: NDArray[np.uint8], want: NDArray[np.float32]
) -> None:
    runner = BoundRunner(WatchedSession(session, together=LANES), None)
    buffer = np.empty_like(images[:16])

    def images_of(batch: int) -> NDArray[np.uint8]:
        buffer[:] = images[batch : batch + 16]  # as the decode buffers, it is overwritten while batches are in progress
        return buffer

    starts = [0, 7, 14, 21]
    for batch, answers in answered(runner, iter(starts), images_of, lambda: True):
        assert answers is not None
        np.testing.assert_allclose(answers.logits, want[batch : batch + 16], rtol=1e-4, atol=1e-4)


def test_a_binding_is_made_once_for_each_lane_and_size(
    session: Any, images: NDArray[np.uint8], want: NDArray[np.float32]
) -> None:
    watched = WatchedSession(session)
    runner = BoundRunner(watched, None)
    for batch in (16, 4, 16):
        runner.prepare(batch)
    bindings = watched.bindings
    assert bindings == LANES * 2
    logits = runner.logits(images[:16])
    for size in (4, 16, 4, 16):
        np.testing.assert_allclose(runner.logits(images[:size]), want[:size], rtol=1e-4, atol=1e-4)
    assert watched.bindings == bindings
    np.testing.assert_allclose(logits, want[:16], rtol=1e-4, atol=1e-4)  # a later call did not overwrite it


def test_a_batch_that_fails_is_an_error_and_the_next_one_is_right(
    session: Any, images: NDArray[np.uint8], want: NDArray[np.float32]
) -> None:
    runner = BoundRunner(session, None)
    with pytest.raises(ModelError, match=r"cannot run it on images of shape \(2, 5, 5, 3\)"):
        runner.logits(np.zeros((2, 5, 5, 3), np.uint8))
    np.testing.assert_allclose(runner.logits(images[:3]), want[:3], rtol=1e-4, atol=1e-4)


def test_its_threads_end_with_it(session: Any, images: NDArray[np.uint8]) -> None:
    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("onnxruntime")]

    gc.collect()
    before = len(threads())
    runner = BoundRunner(session, None)
    runner.logits(images[:2])
    assert len(threads()) > before
    runner.close()
    runner.close()
    assert len(threads()) == before
