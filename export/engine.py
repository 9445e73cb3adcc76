"""ONNX to a serialized engine, by whichever TensorRT module is passed in: `tensorrt` 10.3 to 11.x, or `tensorrt_rtx`.

Only names that all of them share are used. TensorRT reports failure by returning None, so every return is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from vegrt.errors import EngineError
from vegrt.export.layers import Layer, parse_layers


@dataclass(frozen=True, slots=True)
class Profile:
    """The batch sizes that an engine takes: smallest, the one that it is tuned for, largest."""

    smallest: int = 1
    tuned: int = 8
    largest: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.tuned <= self.largest:
            raise EngineError(f"profile {self}: expected 1 <= smallest <= tuned <= largest batch")

    def __str__(self) -> str:
        return f"b{self.smallest}-{self.tuned}-{self.largest}"


@dataclass(frozen=True, slots=True)
class Engine:
    """A serialized engine (the raw plan) and the layers that the builder listed while it made it."""

    plan: bytes
    layers: tuple[Layer, ...]


def build_engine(trt: ModuleType, subject: str, model: bytes, profile: Profile, *, workspace_mib: int = 1024) -> Engine:
    """Return the engine of an ONNX model whose only input is uint8 (N, H, W, 3).

    trt: the imported TensorRT module. Raises EngineError, with the builder's own last error, when any step fails.
    """
    log = _logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        raise EngineError(f"{subject}: {trt.__name__} cannot parse it ({parser.get_error(0).desc()})")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    _add_profile(builder, network, config, profile, subject)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        reason = log.errors[-1] if log.errors else "no reason given"
        raise EngineError(f"{subject}: {trt.__name__} {trt.__version__} cannot build it ({reason})")
    return Engine(bytes(memoryview(plan)), parse_layers(log.messages))


def _strongly_typed(trt: ModuleType) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0  # always so from TensorRT 11 on


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
    """Return an ILogger that keeps messages: the layer list arrives as VERBOSE ones."""

    class Tape(trt.ILogger):  # type: ignore[name-defined, misc]  # the base is known at run time only
        def __init__(self) -> None:
            super().__init__()
            self.messages: list[str] = []
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            self.messages.append(message)
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Tape()
