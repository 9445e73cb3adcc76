"""The builder: real plans of TensorRT-RTX, and what happens where TensorRT reports a failure by returning None."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import ModuleType
from typing import Any

import onnx
import pytest

from vegrt.bundle.bundle import Bundle
from vegrt.errors import EngineError
from vegrt.export.engines.build import build_engine
from vegrt.export.engines.options import PRESETS, BuildOptions, Profile

trt = pytest.importorskip("tensorrt_rtx", reason="builds real plans: pip install 'vegrt[rtx]'")


class Forwarding:
    """Has every call done by a real builder. It is no subclass: the real one cannot be finalized while an error is on its way."""

    def __init__(self, logger: Any) -> None:
        self._builder = trt.Builder(logger)

    def __getattr__(self, member: str) -> Any:
        return getattr(self._builder, member)


def with_builder(builder: type[Any], name: str = "tensorrt_rtx") -> ModuleType:
    """Return tensorrt_rtx with another Builder class, under the name of the module for which it stands in."""
    module = ModuleType(name)
    module.__dict__.update({key: getattr(trt, key) for key in dir(trt) if not key.startswith("__")})
    module.__dict__.update({"Builder": builder, "__version__": trt.__version__})
    return module


def test_nothing_is_written_to_stdout(bundle: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    engine = build_engine(trt, "int8", bundle.file("model", "int8").read_bytes(), Profile())
    assert len(engine.plan) > 100_000
    assert len(engine.layers) > 20
    with pytest.raises(EngineError):
        build_engine(trt, "damaged", b"not a model", Profile())
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("preset", "shapes"), [("online", (1, 8, 32)), ("offline", (1, 64, 256))])
def test_engines_are_built_for_the_batch_sizes_of_the_preset(
    bundle: Bundle, preset: str, shapes: tuple[int, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="vegrt.export.engines.build"):
        build_engine(trt, "fp16", bundle.file("model", "fp16").read_bytes(), PRESETS[preset])
    smallest, tuned, largest = (f"[{batch},48,48,3]" for batch in shapes)
    assert f"MinShape: {smallest}, OptShape: {tuned}, MaxShape: {largest}" in caplog.text


@pytest.mark.parametrize("tf32", [False, True])
def test_float32_products_are_not_rounded_unless_asked_for(bundle: Bundle, tf32: bool) -> None:
    configs = []

    class Recording(Forwarding):
        def create_builder_config(self) -> Any:
            configs.append(self._builder.create_builder_config())
            return configs[-1]

    model = bundle.file("model", "fp32").read_bytes()
    build_engine(with_builder(Recording), "fp32", model, Profile(), options=BuildOptions(tf32=tf32))
    assert [config.get_flag(trt.BuilderFlag.TF32) for config in configs] == [tf32]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("create_network", "create a network"),
        ("create_builder_config", "create a builder configuration"),
        ("create_optimization_profile", "create an optimization profile"),
        ("build_serialized_network", "build it"),
    ],
)
def test_none_is_an_error_wherever_tensorrt_returns_it(bundle: Bundle, name: str, step: str) -> None:
    class Failing(Forwarding):
        def __getattr__(self, member: str) -> Any:
            return (lambda *_: None) if member == name else super().__getattr__(member)

    model = bundle.file("model", "fp16").read_bytes()
    with pytest.raises(EngineError, match=rf"^fp16: tensorrt_rtx {trt.__version__} cannot {step} \(.+\)$"):
        build_engine(with_builder(Failing), "fp16", model, Profile())


def test_a_builder_that_cannot_be_made_is_an_error() -> None:
    def no_builder(_logger: Any) -> Any:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    module = with_builder(trt.Builder)
    module.__dict__["Builder"] = no_builder
    with pytest.raises(EngineError, match=r"cannot create a builder \(pybind11::init\(\): factory function"):
        build_engine(module, "fp16", b"", Profile())


def test_a_build_that_fails_says_why_in_the_words_of_tensorrt(bundle: Bundle) -> None:
    options = BuildOptions(version_compatible=True)  # TensorRT-RTX has no lean runtime
    with pytest.raises(EngineError, match=r"cannot build it \(.*(?i:version|lean|compatible)") as refused:
        build_engine(trt, "fp16", bundle.file("model", "fp16").read_bytes(), Profile(), options=options)
    assert "cudaError" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_graph_that_tensorrt_refuses_is_one_engine_error(bundle: Bundle) -> None:
    model = onnx.load(bundle.file("model", "fp32"))
    model.graph.node[5].op_type = "NoSuchOperator"
    with pytest.raises(EngineError, match=r"fp32: tensorrt_rtx .* cannot parse it"):
        build_engine(trt, "fp32", model.SerializeToString(), Profile())
    with pytest.raises(EngineError, match=r"tensorrt_rtx .* cannot parse it"):
        build_engine(trt, "fp32", b"not a model", Profile())


WITH_A_BUILDER_IN_A_CYCLE = """
import gc, logging, sys
from pathlib import Path
import tensorrt_rtx as trt
from vegrt.export.engines.build import build_engine
from vegrt.export.engines.options import Profile

class Allocating(logging.Handler):
    def emit(self, record):
        logging.getLogger().removeHandler(self)
        [[] for _ in range(200_000)]  # enough to start the collector

model = Path(sys.argv[1]).read_bytes()
logging.basicConfig(level=logging.DEBUG, handlers=[Allocating()])
cycle = [trt.Builder(trt.Logger(trt.Logger.ERROR))]
cycle.append(cycle)
gc.set_threshold(100_000)
del cycle
print(len(build_engine(trt, "fp16", model, Profile()).plan), gc.isenabled())
"""


def test_an_earlier_builder_among_the_garbage_does_not_stop_the_build(bundle: Bundle) -> None:
    """Its destructor waits for a lock that TensorRT-RTX holds while it calls the logger."""
    command = [sys.executable, "-c", WITH_A_BUILDER_IN_A_CYCLE, str(bundle.file("model", "fp16"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" True\n")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the cache's functions in RTX
def test_tensorrt_keeps_the_times_of_its_kernels(bundle: Bundle) -> None:
    """The path of `tensorrt` alone: RTX takes a timing cache and returns one, but measures nothing for it."""
    module, model = with_builder(trt.Builder, "tensorrt"), bundle.file("model", "fp16").read_bytes()
    engine = build_engine(module, "fp16", model, Profile(), timing_cache=b"of another device")
    assert engine.timing_cache
    assert build_engine(trt, "fp16", model, Profile()).timing_cache == b""
