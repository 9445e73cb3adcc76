"""The CUDA runtime's answers are checked one by one: seen with the real library on a machine where every call fails."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from vegrt.errors import EngineError
from vegrt.infer.machine.gpu import has_gpu, probe_gpus
from vegrt.infer.runtimes.cuda.runtime import Cuda


@pytest.fixture
def cuda() -> Cuda:
    if probe_gpus().gpus:
        pytest.skip("this machine has a GPU; tests/infer/machine/test_gpu.py covers it")
    return Cuda(importlib.import_module("cuda.bindings.runtime"))


def test_a_call_that_fails_is_an_error_and_no_address(cuda: Cuda) -> None:
    for call in (cuda.stream, lambda: cuda.device_buffer(8), lambda: cuda.pinned((2, 3), np.float32)):
        with pytest.raises(EngineError, match="CUDA: cudaError"):
            call()
    cuda.close()
    cuda.close()


def test_a_capture_that_fails_is_no_graph_and_a_warning(cuda: Cuda, caplog: pytest.LogCaptureFixture) -> None:
    assert cuda.capture(0, lambda: None) is None
    assert "no CUDA graph for this batch size" in caplog.text


def test_without_a_device_file_there_is_no_gpu(cuda: Cuda) -> None:
    assert not has_gpu()
