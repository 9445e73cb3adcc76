"""Every TensorRT and CUDA name in our sources exists: what builds in tensorrt_rtx, what runs in TensorRT 10 and 11.

The run side is read from lists of the real packages (list_names.py made them), because tensorrt-lean, the only runtime on PyPI,
comes in one version at a time and must not be used without a GPU.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from functools import reduce
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STUBS = "tensorrt-stubs-10.13.0.35"  # both sides; the lean runtime's lists hold the run side only
LEAN = ("tensorrt_lean-10.16.1.11", "tensorrt_lean-11.4.0.106")


def _load(name: str) -> ModuleType:
    spec = spec_from_file_location(f"names_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


collect, list_names = _load("collect"), _load("list_names")


def missing(uses: Any, names: dict[str, list[str]]) -> set[str]:
    """Return what a list of names lacks; of a chain its first two parts are looked up."""
    members = {member for owned in names.values() for member in owned}
    chains = {chain for chain in uses.chains if not _listed(chain.split("."), names)}
    lacking: set[str] = chains | (uses.members - members)
    return lacking


def _listed(parts: list[str], names: dict[str, list[str]]) -> bool:
    return parts[0] in names and (len(parts) == 1 or parts[1] in names[parts[0]])


def missing_in(uses: Any, module: ModuleType) -> set[str]:
    """Return what an installed module lacks."""
    chains = {chain for chain in uses.chains if reduce(_step, chain.split("."), module) is None}
    classes = [value for _, value in inspect.getmembers(module, inspect.isclass)]
    return chains | {name for name in uses.members if not any(hasattr(owner, name) for owner in classes)}


def _step(value: Any, name: str) -> Any:
    return getattr(value, name, None)


@pytest.mark.parametrize("listing", [STUBS, *LEAN])
def test_what_runs_engines_exists_in_tensorrt_10_and_11(listing: str) -> None:
    uses = collect.uses_of(ROOT / "infer")["tensorrt"]
    scratch = {"ExecutionContextAllocationStrategy.USER_MANAGED", "set_device_memory", "device_memory_size_v2"}
    assert scratch | {"Runtime", "execute_async_v3", "engine_host_code_allowed"} <= uses.chains | uses.members
    names = json.loads((HERE / f"{listing}.json").read_text(encoding="utf-8"))["names"]
    assert missing(uses, names) == set()


def test_what_builds_engines_exists() -> None:
    uses = collect.uses_of(ROOT / "export")["tensorrt"]
    assert {"MemoryPoolType.WORKSPACE", "build_serialized_network", "profiling_verbosity"} <= uses.chains | uses.members
    assert len(uses.chains | uses.members) > 30
    rtx = pytest.importorskip("tensorrt_rtx", reason="pip install 'vegrt[rtx]'")
    assert missing_in(uses, rtx) == set()
    names = json.loads((HERE / f"{STUBS}.json").read_text(encoding="utf-8"))["names"]
    assert missing(uses, names) == set()


@pytest.mark.parametrize("listing", [STUBS, *LEAN])
def test_what_inspects_engines_exists_in_tensorrt_10_and_11(listing: str) -> None:
    source = (ROOT / "export/engines/inspector.py").read_text(encoding="utf-8")
    uses = collect.uses_in(source)["tensorrt"]
    assert {"create_engine_inspector", "engine_host_code_allowed", "execution_context"} <= uses.members
    names = json.loads((HERE / f"{listing}.json").read_text(encoding="utf-8"))["names"]
    lean_lacks = set() if listing == STUBS else {"execution_context", "get_engine_information"}  # of EngineInspector
    assert missing(uses, names) == lean_lacks


def test_what_asks_cuda_exists() -> None:
    uses = collect.uses_of(ROOT / "infer")["cuda"]
    captures = {"cudaGraphLaunch", "cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal", "cudaGraphExecDestroy"}
    assert captures | {"cudaMallocHost", "cudaMemcpyKind.cudaMemcpyHostToDevice"} <= uses.chains
    assert "totalGlobalMem" in uses.members
    assert missing_in(uses, importlib.import_module("cuda.bindings.runtime")) == set()


def test_what_asks_cuda_existed_in_12() -> None:
    uses = collect.uses_of(ROOT / "infer")["cuda"]
    names = json.loads((HERE / "cuda.bindings.runtime-12.9.1.json").read_text(encoding="utf-8"))["names"]
    assert missing(uses, names) == set()


def test_what_self_holds_is_followed_into_every_method() -> None:
    source = "class A:\n    def __init__(self, cudart: Any) -> None:\n        self.lib = cudart\n\n"
    source += "    def f(self) -> None:\n        self.lib.cudaGone(self.lib.cudaMemcpyKind.cudaMemcpySideways)\n"
    uses = collect.uses_in(source)["cuda"]
    assert uses.chains >= {"cudaGone", "cudaMemcpyKind.cudaMemcpySideways"}
    gone = missing_in(uses, importlib.import_module("cuda.bindings.runtime"))
    assert gone == {"cudaGone", "cudaMemcpyKind.cudaMemcpySideways"}


def test_names_that_are_gone_are_noticed() -> None:
    source = "def build(trt: Any, config: Any) -> None:\n    flag = trt.BuilderFlag.INT8\n    config.set_flag(flag)\n"
    uses = collect.uses_in(source + "    config.int8_calibrator = trt.IInt8EntropyCalibrator2()\n")["tensorrt"]
    names = json.loads((HERE / f"{LEAN[1]}.json").read_text(encoding="utf-8"))["names"]
    gone = missing(uses, names)
    assert {"BuilderFlag.INT8", "IInt8EntropyCalibrator2", "int8_calibrator"} <= gone
    assert "BuilderFlag" not in gone


def test_lists_are_made_of_names_alone() -> None:
    names = list_names.names_of(importlib.import_module("cuda.bindings.runtime"))
    assert "cudaMalloc" in names
    assert "cudaMemcpyHostToDevice" in names["cudaMemcpyKind"]
    stub = "class A:\n    x: int\n    def f(self, a = 1, b): ...\nclass B(A):\n    class C: ...\n    y = 1\n"
    assert list_names.names_in_stub(stub) == {"A": ["f", "x"], "B": ["C", "f", "x", "y"]}
