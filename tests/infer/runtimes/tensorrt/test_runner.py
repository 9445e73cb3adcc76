"""The TensorRT runner's control flow, with stand-ins that record the vendors' calls: see recording.py."""

from __future__ import annotations

import gc
import logging

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.infer.runtimes.tensorrt import recording
from tests.infer.runtimes.tensorrt.recording import CLASSES, LARGEST, PIXELS, SCRATCH_BYTES, Cudart, Engine, logits_of
from vegrt.errors import EngineError, RefusedEngineError
from vegrt.infer.runtimes.cuda.runtime import Cuda
from vegrt.infer.runtimes.overlap import answered
from vegrt.infer.runtimes.runner import OverlappingRunner
from vegrt.infer.runtimes.tensorrt.graphs import LIMIT
from vegrt.infer.runtimes.tensorrt.runner import LANES, TensorRtRunner, load_engine

UPLOAD = 1


@pytest.fixture
def cudart() -> Cudart:
    return Cudart()


def runner_on(cudart: Cudart, *, contexts: int = 1000) -> TensorRtRunner:
    engine = Engine(cudart, contexts=contexts)
    return TensorRtRunner(recording.tensorrt(), engine, Cuda(cudart), CLASSES, lambda: "TensorRT's reason")


def photos(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *PIXELS), np.uint8)


def uploads(cudart: Cudart) -> list[int]:
    """Return the streams of the copies to the device, in order."""
    return [stream for kind, _, stream in cudart.named("cudaMemcpyAsync") if kind == UPLOAD]


def test_a_stream_of_batches_of_16_uses_both_streams_at_once(cudart: Cudart) -> None:
    runner = runner_on(cudart)
    assert isinstance(runner, OverlappingRunner)
    batches = [photos(16, seed) for seed in range(6)]
    buffer = np.empty_like(batches[0])  # a decode buffer, which each batch overwrites

    def images_of(batch: int) -> NDArray[np.uint8]:
        buffer[:] = batches[batch]
        return buffer

    for batch, answers in answered(runner, iter(range(6)), images_of, lambda: True):
        assert answers is not None
        np.testing.assert_array_equal(answers.logits, logits_of(batches[batch]))
    assert cudart.most_in_progress == LANES == 2
    first, second = cudart.streams
    assert uploads(cudart)[:2] == [first, second]
    launches = cudart.named("cudaGraphLaunch")  # from each lane's second batch on
    assert launches == [first, second] * 2


@pytest.mark.parametrize("count", [0, 1, LARGEST, LARGEST + 1, 5 * LARGEST + 3])
def test_any_number_of_images_passes_in_parts(cudart: Cudart, count: int) -> None:
    runner, images = runner_on(cudart), photos(count)
    for _ in range(4):  # call by call, then graphs
        logits = runner.logits(images)
        assert logits.shape == (count, CLASSES)
        np.testing.assert_array_equal(logits, logits_of(images))
    assert cudart.most_in_progress == min(LANES, -(-count // LARGEST))


def test_streams_do_not_wait_for_the_legacy_stream(cudart: Cudart) -> None:
    runner_on(cudart)
    assert cudart.named("cudaStreamCreateWithFlags") == [cudart.cudaStreamNonBlocking] * LANES


def test_the_contexts_of_a_lane_share_one_scratch_memory(cudart: Cudart) -> None:
    engine = Engine(cudart)
    runner = TensorRtRunner(recording.tensorrt(), engine, Cuda(cudart), CLASSES, lambda: "")
    for batch in (1, 4, 16):
        runner.prepare(batch)
    assert len(engine.scratch) == LANES * (1 + 3)
    assert len(set(engine.scratch)) == LANES
    assert cudart.named("cudaMalloc").count(SCRATCH_BYTES) == LANES


def test_nothing_is_captured_for_a_size_that_was_prepared(cudart: Cudart) -> None:
    runner = runner_on(cudart)
    sizes = [1, 4, 16, LARGEST + 5, *range(6, 6 + LIMIT)]
    for batch in sizes:
        runner.prepare(batch)
    captures = len(cudart.named("cudaStreamBeginCapture"))
    for _ in range(3):
        for batch in sizes:
            np.testing.assert_array_equal(runner.logits(photos(batch)), logits_of(photos(batch)))
    assert len(cudart.named("cudaStreamBeginCapture")) == captures
    assert captures == LANES * (len(sizes) + 1)  # one is cut into two parts


def test_only_the_graphs_of_recent_sizes_are_kept(cudart: Cudart) -> None:
    runner = runner_on(cudart)
    for batch in range(1, LIMIT + 4):
        for _ in range(4):
            runner.logits(photos(batch))
    assert len(cudart.named("cudaGraphExecDestroy")) == LANES * 3
    assert len(cudart.graphs) == LANES * LIMIT


@pytest.mark.parametrize("fault", ["context", "cudaGraphInstantiate", "cudaStreamEndCapture"])
def test_without_memory_for_a_graph_it_goes_on_without(
    cudart: Cudart, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    runner = runner_on(cudart, contexts=LANES if fault == "context" else 1000)
    cudart.failing = {} if fault == "context" else {fault: 2}
    for _ in range(6):
        np.testing.assert_array_equal(runner.logits(photos(16)), logits_of(photos(16)))
    assert cudart.named("cudaGraphLaunch") == []
    messages = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == LANES  # not once per batch
    assert "batches of 16 run without a CUDA graph" in messages[0]
    assert ("out of memory" if fault != "context" else "TensorRT's reason") in messages[0]


def test_a_failure_is_said_in_cudas_words_and_the_next_batch_is_right(cudart: Cudart) -> None:
    runner = runner_on(cudart)
    first, second = runner.begin(photos(16, 1)), runner.begin(photos(16, 2))
    cudart.failing = {"cudaStreamSynchronize": 700}
    for begun in (first, second):
        with pytest.raises(EngineError, match=r"CUDA: cudaErrorIllegalAddress \(an illegal memory access"):
            runner.finish(begun)
    cudart.failing = {}
    np.testing.assert_array_equal(runner.logits(photos(3)), logits_of(photos(3)))


def test_images_of_another_size_and_a_closed_runner_are_refused(cudart: Cudart) -> None:
    runner = runner_on(cudart)
    with pytest.raises(EngineError, match=r"images of shape \(5, 4, 3\) refused; expected \(4, 4, 3\)"):
        runner.logits(np.zeros((1, 5, 4, 3), np.uint8))
    runner.close()
    with pytest.raises(EngineError, match="the runner was closed"):
        runner.logits(photos(1))


@pytest.mark.parametrize("way", ["close", "garbage"])
def test_everything_is_released_also_with_work_in_progress(cudart: Cudart, way: str) -> None:
    runner = runner_on(cudart)
    for _ in range(4):
        runner.logits(photos(16))
    runner.begin(photos(16))
    assert cudart.memory
    assert cudart.graphs
    if way == "close":
        runner.close()
        runner.close()
    else:
        del runner
        gc.collect()
    assert (cudart.memory, cudart.streams, cudart.graphs) == ({}, {}, {})


def test_a_lane_that_cannot_be_made_leaves_nothing_behind(cudart: Cudart) -> None:
    with pytest.raises(EngineError, match=r"no execution context, .* \(TensorRT's reason\); see nvidia-smi"):
        runner_on(cudart, contexts=1)
    gc.collect()
    assert (cudart.memory, cudart.streams) == ({}, {})


def load(plan: bytes, *, runs_host_code: bool = False, num_classes: int = CLASSES) -> TensorRtRunner:
    cuda = Cuda(Cudart())
    cure = "build it again"
    return load_engine(
        recording.tensorrt(), cuda, plan, "fp16.engine", num_classes, cure=cure, runs_host_code=runs_host_code
    )


def test_a_refused_plan_is_told_in_tensorrts_words_and_not_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RefusedEngineError) as refused:
        load(b"a plan of another device")
    expected = "fp16.engine: TensorRT 10.13.0 refuses it (Error Code 4: the plan is not one of mine); build it again"
    assert str(refused.value) == expected
    assert capfd.readouterr().out == ""


def test_code_in_a_plan_runs_only_where_that_is_allowed() -> None:
    with pytest.raises(RefusedEngineError):
        load(b"engine and code")
    with pytest.raises(EngineError, match="gives 5 logits, there are 7 classes"):
        load(b"engine and code", runs_host_code=True, num_classes=7)
