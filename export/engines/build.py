"""Builds a serialized engine from an ONNX model, with the TensorRT module that is passed in.

The module is `tensorrt` 10.3 to 11.x, or `tensorrt_rtx`; only names that exist in all of them are used. TensorRT reports failure
by returning None or False, so every return is checked; the reason is in its log.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NoReturn

from vegrt.errors import EngineError
from vegrt.export.engines.layers import BuilderLog, Layer
from vegrt.export.engines.options import BuildOptions, Profile
from vegrt.infer.runtimes.tensorrt.logger import tensorrt_logger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """A serialized engine (the raw plan), the layers that the builder listed for it, and its timing cache."""

    plan: bytes
    layers: tuple[Layer, ...]
    timing_cache: bytes = b""


def build_engine(
    trt: ModuleType,
    subject: str,
    model: bytes,
    profile: Profile,
    *,
    options: BuildOptions | None = None,
    timing_cache: bytes = b"",
) -> Engine:
    """Return the engine of an ONNX model whose only input is uint8 (N, H, W, 3).

    trt: the imported TensorRT module. timing_cache: of an earlier build by the same version on the same device, or empty.
    Raises EngineError, with TensorRT's last error, when any step fails.
    """
    with _garbage_kept():
        return _Build(trt, subject).run(model, profile, options or BuildOptions(), timing_cache)


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Suspend the garbage collector.

    TensorRT-RTX 1.7 calls the logger while it holds a lock for which the destructor of a builder waits. If the collector, started
    by an allocation of the logger, found an earlier builder in a cycle, both would wait for ever.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Build:
    """One run of the builder, with its log. The builder's messages are logged at DEBUG: its errors reach the EngineError."""

    def __init__(self, trt: ModuleType, subject: str) -> None:
        self._trt, self._subject = trt, subject
        self._layers = BuilderLog()
        self._logger = tensorrt_logger(trt, log, level=logging.DEBUG, listener=self._layers.add)

    def run(self, model: bytes, profile: Profile, options: BuildOptions, timing_cache: bytes) -> Engine:
        trt = self._trt
        try:
            builder = trt.Builder(self._logger)
        except (
            TypeError,
            RuntimeError,
        ) as error:  # pybind11 raises TypeError where the factory returned a null pointer
            self._fail("create a builder", f"{error}; {self._logger.reason}")
        network = builder.create_network(_strongly_typed(trt))
        self._check(network, "create a network")
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(model):
            self._fail("parse it", parser.get_error(0).desc() if parser.num_errors else "")
        config = builder.create_builder_config()
        self._check(config, "create a builder configuration")
        self._configure(config, options)
        self._add_profile(builder, network, config, profile)
        if times_tactics := _times_tactics(trt):
            self._set_cache(config, timing_cache)
        plan = builder.build_serialized_network(network, config)
        self._check(plan, "build it")
        cache = self._serialized_cache(config) if times_tactics else b""
        return Engine(bytes(memoryview(plan)), self._layers.layers, cache)

    def _configure(self, config: Any, options: BuildOptions) -> None:
        trt = self._trt
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # otherwise the layer list contains names only
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
        if options.level is not None:
            config.builder_optimization_level = options.level
        if not options.tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        if options.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if options.hardware_compatible:
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS

    def _add_profile(self, builder: Any, network: Any, config: Any, profile: Profile) -> None:
        tensor = network.get_input(0)
        _, *pixels = tensor.shape
        shapes = builder.create_optimization_profile()
        self._check(shapes, "create an optimization profile")
        sizes = ((batch, *pixels) for batch in (profile.smallest, profile.tuned, profile.largest))
        step = f"use the optimization profile {profile} for {tensor.name} {tuple(tensor.shape)}"
        try:
            shapes.set_shape(tensor.name, *sizes)
        except ValueError as error:
            self._fail(step, str(error))
        if config.add_optimization_profile(shapes) < 0:
            self._fail(step)

    def _set_cache(self, config: Any, data: bytes) -> None:
        """Give the builder the cache, or an empty one if it refuses it because it is of another device or version."""
        cache = config.create_timing_cache(data)
        if cache is None or not config.set_timing_cache(cache, False):
            empty = config.create_timing_cache(b"")
            self._check(empty, "create a timing cache")
            self._check(config.set_timing_cache(empty, False), "use an empty timing cache")

    def _serialized_cache(self, config: Any) -> bytes:
        cache = config.get_timing_cache()
        self._check(cache, "return its timing cache")
        data = cache.serialize()
        self._check(data, "serialize its timing cache")
        return bytes(memoryview(data))

    def _check(self, value: Any, step: str) -> None:
        """Raise EngineError if TensorRT returned None or False: that is how it reports failure."""
        if value is None or value is False:
            self._fail(step)

    def _fail(self, step: str, reason: str = "") -> NoReturn:
        trt, cause = self._trt, " ".join((reason or self._logger.reason).split())
        raise EngineError(f"{self._subject}: {trt.__name__} {trt.__version__} cannot {step} ({cause})")


def _times_tactics(trt: ModuleType) -> bool:
    """Return whether a timing cache has an effect: TensorRT-RTX times nothing, its cache calls are deprecated no-ops (1.7)."""
    return trt.__name__ != "tensorrt_rtx"


def _strongly_typed(trt: ModuleType) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0  # 11 and later always are
