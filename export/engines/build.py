"""Builds a serialized engine from an ONNX model, with the TensorRT module that is passed in, and the options for it.

The module is `tensorrt` 10.3 to 11.x, or `tensorrt_rtx`; only names that exist in all of them are used. TensorRT reports failure
by returning None, so every return is checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from vegrt.errors import EngineError
from vegrt.export.engines.layers import Layer, parse_layers

OPSET = 20


@dataclass(frozen=True, slots=True)
class Profile:
    """The batch sizes of an engine: smallest, the one that it is tuned for, largest."""

    smallest: int = 1
    tuned: int = 8
    largest: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.tuned <= self.largest:
            raise EngineError(f"profile {self}: expected 1 <= smallest <= tuned <= largest batch")

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Return the profile of the text MIN,OPT,MAX. Raises EngineError for any other text."""
        parts = text.split(",")
        if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
            raise EngineError(f"--batch {text!r}: expected three numbers MIN,OPT,MAX, such as 1,8,32")
        return cls(*map(int, parts))

    @classmethod
    def of_engine(cls, subject: str, details: Mapping[str, Any]) -> Profile:
        """Return the profile in the manifest's details of an engine. Raises EngineError when it has none."""
        sizes = re.fullmatch(r"b(\d{1,6})-(\d{1,6})-(\d{1,6})", str(details.get("profile")))
        if sizes is None:
            raise EngineError(
                f"{subject}: profile {details.get('profile')!r}; expected one such as {Profile()}; export it again"
            )
        return cls(*map(int, sizes.groups()))

    def __str__(self) -> str:
        return f"b{self.smallest}-{self.tuned}-{self.largest}"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The options of the TensorRT builder.

    workspace_mib: its scratch memory. level: 0 (fast build) to 5 (fast engine); None for TensorRT's default.
    version_compatible: later versions can load the engine too. hardware_compatible: it runs on any GPU from Ampere on.
    """

    workspace_mib: int = 1024
    level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options of an export.

    opset: of all models except bf16.onnx. bf16: also write a bfloat16 model. fp32_engine: also build an fp32 engine.
    profile: batch sizes of the engines; the parity gate uses the largest. min_int8: smallest share of all layers with weights
    that must be Int8 in an int8 engine; None requires every layer that is quantized in int8.onnx.
    """

    opset: int = OPSET
    bf16: bool = False
    fp32_engine: bool = False
    profile: Profile = field(default_factory=Profile)
    build: BuildOptions = field(default_factory=BuildOptions)
    min_int8: float | None = None

    def __post_init__(self) -> None:
        if self.min_int8 is not None and not 0 <= self.min_int8 <= 1:
            raise EngineError(f"--min-int8 {self.min_int8}: expected a share between 0 and 1")


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
    Raises EngineError, with the builder's last error message, when any step fails.
    """
    log = _logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        raise EngineError(f"{subject}: {trt.__name__} cannot parse it ({parser.get_error(0).desc()})")
    config = builder.create_builder_config()
    _configure(trt, config, options or BuildOptions())
    _add_profile(builder, network, config, profile, subject)
    has_cache = _times_tactics(trt)
    if has_cache:
        _set_cache(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        reason = log.errors[-1] if log.errors else "no reason given"
        raise EngineError(f"{subject}: {trt.__name__} {trt.__version__} cannot build it ({reason})")
    cache = bytes(memoryview(config.get_timing_cache().serialize())) if has_cache else b""
    return Engine(bytes(memoryview(plan)), parse_layers(log.messages), cache)


def _configure(trt: ModuleType, config: Any, options: BuildOptions) -> None:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # otherwise the layer list contains names only
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS


def _times_tactics(trt: ModuleType) -> bool:
    """Return whether a timing cache has an effect: TensorRT-RTX times nothing, its cache calls are deprecated no-ops (1.7)."""
    return trt.__name__ != "tensorrt_rtx"


def _set_cache(config: Any, data: bytes) -> None:
    """Give the builder the cache, or an empty one if it refuses it because it is of another device or version."""
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _strongly_typed(trt: ModuleType) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0  # 11 and later always are


def _add_profile(builder: Any, network: Any, config: Any, profile: Profile, subject: str) -> None:
    tensor = network.get_input(0)
    _, *pixels = tensor.shape
    shapes = builder.create_optimization_profile()
    shapes.set_shape(tensor.name, *((batch, *pixels) for batch in (profile.smallest, profile.tuned, profile.largest)))
    if config.add_optimization_profile(shapes) < 0:
        raise EngineError(
            f"{subject}: optimization profile {profile} was refused for {tensor.name} {tuple(tensor.shape)}"
        )


def _logger(trt: ModuleType) -> Any:
    """Return an ILogger that stores messages: the builder writes its layer list as VERBOSE ones."""

    class StoringLogger(trt.ILogger):  # type: ignore[name-defined, misc]  # the base is known at run time only
        def __init__(self) -> None:
            super().__init__()
            self.messages: list[str] = []
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            self.messages.append(message)
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return StoringLogger()
