"""The loader's own words for a provider that cannot be loaded: real files, broken on purpose."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from vegrt.infer.machine.provider_libraries import find_unloadable, unloadable_in


@pytest.mark.skipif(
    "onnxruntime-gpu" in {each.name for each in importlib.metadata.distributions()}, reason="for CPUs only"
)
def test_an_onnx_runtime_without_gpu_providers_has_none_that_fails() -> None:
    assert find_unloadable() == {}


def test_the_loader_is_quoted_for_each_broken_file(tmp_path: Path) -> None:
    (tmp_path / "libonnxruntime_providers_cuda.so").touch()
    (tmp_path / "libonnxruntime_providers_tensorrt.so").write_bytes(b"\x7fELF" + bytes(60))
    words = unloadable_in(tmp_path)
    assert list(words) == ["CUDAExecutionProvider", "TensorrtExecutionProvider"]
    assert words["CUDAExecutionProvider"].endswith("libonnxruntime_providers_cuda.so: file too short")
    assert "libonnxruntime_providers_tensorrt.so: " in words["TensorrtExecutionProvider"]
