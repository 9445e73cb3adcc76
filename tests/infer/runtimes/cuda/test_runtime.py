"""The CUDA runtime's answers are checked one by one: seen with the real library on a machine where every call fails."""

from __future__ import annotations

import ctypes
import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from vegrt.errors import EngineError
from vegrt.infer.machine.gpu import has_gpu, probe_gpus
from vegrt.infer.runtimes.cuda import cudart_ctypes
from vegrt.infer.runtimes.cuda.runtime import Cuda, load_cudart


@pytest.fixture(autouse=True)
def _no_gpu() -> None:
    if probe_gpus().gpus:
        pytest.skip("this machine has a GPU; tests/infer/runtimes/test_on_gpu.py covers it")


def cuda_bindings() -> ModuleType:
    return importlib.import_module("cuda.bindings.runtime")


def by_ctypes() -> ModuleType:
    """Return the binding by ctypes on the real libcudart that torch's packages contain."""
    package = find_spec("nvidia")
    places = (package.submodule_search_locations or []) if package else []
    files = [file for place in places for file in Path(place).rglob("libcudart.so.1?")]
    if not files:
        pytest.skip("no libcudart here: pip install nvidia-cuda-runtime")
    ctypes.CDLL(str(files[0]))
    return cudart_ctypes


@pytest.mark.parametrize("binding", [cuda_bindings, by_ctypes])
def test_a_call_that_fails_is_an_error_in_cudas_words_and_no_address(binding: Callable[[], ModuleType]) -> None:
    cuda = Cuda(binding())
    calls: tuple[Callable[[], Any], ...] = (
        cuda.stream,
        lambda: cuda.device_buffer(8),
        lambda: cuda.pinned((2, 3), np.float32),
    )
    for call in calls:
        with pytest.raises(EngineError, match=r"CUDA: cudaError\w+ \(.*driver.*\); see: vegrt doctor"):
            call()
    cuda.close()
    cuda.close()


@pytest.mark.parametrize("binding", [cuda_bindings, by_ctypes])
def test_a_capture_that_fails_is_an_error(binding: Callable[[], ModuleType]) -> None:
    with pytest.raises(EngineError, match="CUDA: cudaError"):
        Cuda(binding()).capture(0, lambda: None)


def test_the_binding_by_ctypes_answers_as_cuda_bindings_does() -> None:
    ours, theirs = by_ctypes(), cuda_bindings()
    names = [name for name, _ in inspect.getmembers(ours, inspect.isfunction) if name.startswith("cuda")]
    assert len(names) == 18
    kind, mode = "cudaMemcpyKind.cudaMemcpyHostToDevice", "cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal"
    arguments = {"cudaMemcpyAsync": [0, 0, 8, kind, 0], "cudaStreamBeginCapture": [0, mode]}
    for name in names:
        count = len(inspect.signature(getattr(ours, name)).parameters)
        if name.startswith("cudaGetError"):
            continue
        answers = []
        for library in (ours, theirs):
            resolved = [_resolve(library, value) for value in arguments.get(name, [0] * count)]
            answers.append(getattr(library, name)(*resolved))
        assert [len(answer) for answer in answers] in ([1, 1], [2, 2]), name
        assert int(answers[0][0]) == int(answers[1][0]), name
        assert answers[0][0].name == answers[1][0].name, name


def _resolve(library: ModuleType, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    owner, member = value.split(".")
    return getattr(getattr(library, owner), member)


@pytest.mark.parametrize("name", ["cudaGetErrorName", "cudaGetErrorString"])
def test_errors_have_the_same_words(name: str) -> None:
    ours, theirs = by_ctypes(), cuda_bindings()
    for code in (0, 2, 35, 700):
        assert getattr(ours, name)(code)[1] == getattr(theirs, name)(theirs.cudaError_t(code))[1]
    assert ours.cudaError_t(35).name == "cudaErrorInsufficientDriver"
    assert ours.cudaError_t.cudaSuccess == 0


def test_the_binding_by_ctypes_is_one_file_that_needs_nothing_of_ours(tmp_path: Path) -> None:
    (tmp_path / "cudart_ctypes.py").write_bytes(Path(cudart_ctypes.__file__).read_bytes())
    program = "import cudart_ctypes, sys; cudart_ctypes.is_present(); print([name for name in sys.modules if 'vegrt' in name])"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {program}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_without_a_device_the_wheel_is_the_binding_whose_error_is_told() -> None:
    assert load_cudart() is cuda_bindings()


def test_the_systems_library_is_taken_where_only_it_finds_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on JetPack 6, whose driver is older than the runtime in the wheels."""
    monkeypatch.setattr(cudart_ctypes, "is_present", lambda: True)
    monkeypatch.setattr(cudart_ctypes, "cudaGetDeviceCount", lambda: (cudart_ctypes.cudaError_t(0), 1))
    assert load_cudart() is cudart_ctypes


def test_a_stream_is_handed_on_as_a_number() -> None:
    theirs = cuda_bindings()
    assert Cuda(theirs).handle(theirs.cudaStream_t(1234)) == 1234


def test_without_a_device_file_there_is_no_gpu() -> None:
    assert not has_gpu()
