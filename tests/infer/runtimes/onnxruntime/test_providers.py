"""ONNX Runtime's providers on a machine without a GPU: what is passed to it, and what is said when one cannot be loaded.

The texts of ONNX Runtime are those of onnxruntime-gpu 1.31.1, recorded with CUDA's libraries and without a driver.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from vegrt.bundle.bundle import Bundle
from vegrt.errors import MissingExtraError, ModelError, VegrtError
from vegrt.infer.runtimes.onnxruntime.providers import (
    CPU,
    CUDA,
    TensorRtProvider,
    load_libraries,
    make_cache,
    note_tf32,
    provider_failure,
    session_words,
)
from vegrt.infer.runtimes.onnxruntime.session import disabled_optimizers, open_session

DRIVER_TOO_OLD = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, onnxruntime::common::"
    "Status> onnxruntime::CudaCall(ERRTYPE, const char*, const char*, SUCCTYPE, const char*, const char*, int) [with ERRTYPE = "
    "cudaError; bool THRW = true; SUCCTYPE = cudaError; std::conditional_t<THRW, void, common::Status> = void] CUDA failure 35: "
    "CUDA driver version is insufficient for CUDA runtime version ; GPU=-1 ; hostname=vm ; file=/onnxruntime_src/onnxruntime/"
    "core/providers/cuda/cuda_execution_provider.cc ; line=355 ; expr=cudaSetDevice(info_.device_id);\n\n"
)
UNKNOWN_OPTION = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_execution_provider_info.cc:63 static onnxruntime::"
    "CUDAExecutionProviderInfo onnxruntime::CUDAExecutionProviderInfo::FromProviderOptions(const onnxruntime::ProviderOptions&) "
    '[ONNXRuntimeError] : 1 : FAIL : provider_options_utils.h:182 Parse Unknown provider option: "nonsense".\n'
)


def test_errors_of_a_gpu_session_lose_their_signatures() -> None:
    expected = "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version"
    assert session_words(RuntimeError(DRIVER_TOO_OLD)) == expected
    expected = '1 : FAIL : provider_options_utils.h:182 Parse Unknown provider option: "nonsense".'
    assert session_words(RuntimeError(UNKNOWN_OPTION)) == expected
    assert session_words(RuntimeError("plain")) == "plain"


def test_the_loaders_message_is_quoted_for_a_provider_that_cannot_be_loaded() -> None:
    words = provider_failure(onnxruntime, CUDA)  # the build for CPUs does not have the file
    assert words.endswith("libonnxruntime_providers_cuda.so: cannot open shared object file: No such file or directory")
    assert provider_failure(onnxruntime, CPU) == ""


class GpuBuild:
    """Stands for onnxruntime-gpu: prints as preload_dlls does, and fails as its InferenceSession does."""

    __file__ = onnxruntime.__file__

    def __init__(self) -> None:
        self.sessions: list[tuple[Any, dict[str, Any]]] = []
        self.severity = 0

    SessionOptions = onnxruntime.SessionOptions

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", CUDA.name, CPU.name]

    def set_default_logger_severity(self, severity: int) -> None:
        self.severity = severity

    def preload_dlls(self) -> None:
        print("Failed to load libcublasLt.so.13: cannot open shared object file")  # noqa: T201

    def InferenceSession(self, model: Any, options: Any, **settings: Any) -> Any:
        self.sessions.append((options, settings))
        raise RuntimeError("This session contains graph nodes that are assigned to the default CPU EP")


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> GpuBuild:
    build = GpuBuild()
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", build)
    return build


def test_what_preloading_prints_is_logged(
    gpu_build: GpuBuild, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "vegrt.infer.runtimes.onnxruntime.providers"):
        load_libraries(gpu_build, CUDA)
    assert capfd.readouterr().out == ""
    assert "Failed to load libcublasLt.so.13" in caplog.text


def test_a_session_on_a_gpu_never_falls_back_and_never_prints(
    gpu_build: GpuBuild, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MissingExtraError) as missing:
        open_session(Path("fp32.onnx"), device="cuda")
    line = str(missing.value)
    assert line.startswith("onnxruntime: CUDAExecutionProvider cannot be loaded (")
    assert line.endswith("cannot open shared object file: No such file or directory); see: vegrt doctor")
    assert capfd.readouterr().out == ""
    ((options, settings),) = gpu_build.sessions
    assert settings["enable_fallback"] == 0
    assert settings["providers"] == [(CUDA.name, CUDA.options)]
    assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
    assert (gpu_build.severity, options.log_severity_level) == (4, 4)


def test_the_tensorrt_provider_gets_no_pass_that_makes_what_it_refuses(gpu_build: GpuBuild, tmp_path: Path) -> None:
    for float16 in (False, True):
        with pytest.raises(VegrtError, match="TensorrtExecutionProvider cannot be loaded"):
            open_session(b"", float16=float16, tensorrt=TensorRtProvider((48, 48, 3), True, tmp_path / "cache"))
    assert [settings["disabled_optimizers"] for _, settings in gpu_build.sessions] == [["WeightBiasQuantization"]] * 2
    (provider, options), *_ = gpu_build.sessions[0][1]["providers"]
    assert provider == "TensorrtExecutionProvider"
    assert (options["trt_timing_cache_enable"], options["trt_timing_cache_path"]) == ("1", str(tmp_path / "cache"))
    assert (tmp_path / "cache").is_dir()


def test_int8_with_a_float32_rest_keeps_its_bias_in_float_on_tensorrt(bundle: Bundle, tmp_path: Path) -> None:
    """TensorRT refuses int32 biases, which ONNX Runtime makes of float32 ones: seen here in the graph that a provider gets."""
    biases = {}
    for provider in (CPU, TensorRtProvider((48, 48, 3), True, tmp_path).provider(float16=False)):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.log_severity_level = 4  # it warns that the file is for this machine
        onnxruntime.InferenceSession(
            str(bundle.file("model", "int8-cpu")),
            options,
            providers=[CPU.name],
            disabled_optimizers=disabled_optimizers(provider, float16=False),
        )
        graph = onnx.load(tmp_path / "optimized.onnx").graph
        whole = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.INT32}
        dequantized = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in whole]
        biases[provider.name] = len(dequantized)
    assert biases["CPUExecutionProvider"] > 0
    assert biases["TensorrtExecutionProvider"] == 0


@pytest.mark.parametrize(("override", "float16", "told"), [("", False, True), ("", True, False), ("0", False, False)])
def test_tf32_on_the_tensorrt_provider_is_told(
    override: str, float16: bool, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", override)
    note_tf32(float16=float16)
    assert ("may compute float32 in TF32" in caplog.text) == told


def test_fp32_on_cuda_is_not_tf32() -> None:
    assert CUDA.options["use_tf32"] == "0"


def test_the_options_of_the_tensorrt_provider() -> None:
    options = TensorRtProvider((48, 48, 3), True, Path("cache")).options(float16=True)
    assert options["trt_profile_max_shapes"] == "images:32x48x48x3"
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("1", "1")


def test_a_cache_of_engines_that_cannot_be_made_costs_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        VegrtError, match=r"file/engines: engines cannot be kept there \(Not a directory\); set XDG_CACHE_HOME"
    ):
        make_cache(tmp_path / "file/engines")


def test_a_model_that_cannot_be_loaded_prints_nothing(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(np.arange(100, dtype=np.uint8).tobytes())
    with pytest.raises(ModelError, match=r"broken\.onnx: ONNX Runtime cannot load it"):
        open_session(tmp_path / "broken.onnx")
    assert capfd.readouterr().out == ""
