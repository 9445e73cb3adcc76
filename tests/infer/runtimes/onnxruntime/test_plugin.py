"""A plug-in provider for real: Intel's for OpenVINO on the CPU, in a process of its own, which stays the only one that loads it.

Intel's package takes Intel's processors alone, though OpenVINO runs on others too (onnxruntime pull request 31981). Elsewhere the
tests run a copy of its library in which the comparison of the vendor is skipped.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.command_line import answer, call, failure
from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.process import run_process
from vegrt.infer.machine.provider_plugins import installed_plugins
from vegrt.infer.runtimes.candidates import Candidate, candidates
from vegrt.infer.runtimes.onnxruntime.plugin import PluginModel, parse_provider
from vegrt.infer.runtimes.onnxruntime.runner import open_plugin

MODULE = "onnxruntime_ep_openvino"
LIBRARY = "libonnxruntime_providers_openvino_plugin.so"
# call HardwareDevice_VendorId, whose place in OrtApi never changes; cmp eax, Intel; je
VENDOR_CHECK = bytes.fromhex("ff90a0090000 3d86800000 74")
JUMP = b"\xeb"


def for_any_cpu(folder: Path) -> None:
    """Fill a folder with a copy of the installed package that takes the processor of any vendor."""
    spec = importlib.util.find_spec(MODULE)
    assert spec is not None
    assert spec.origin
    installed = Path(spec.origin).parent
    (folder / MODULE).mkdir()
    for file in installed.iterdir():
        (folder / MODULE / file.name).symlink_to(file)
    library = (installed / LIBRARY).read_bytes()
    if library.count(VENDOR_CHECK) != 1:
        pytest.skip(f"{MODULE}: this version compares the vendor of the processor in another way")
    (folder / MODULE / LIBRARY).unlink()
    (folder / MODULE / LIBRARY).write_bytes(library.replace(VENDOR_CHECK, VENDOR_CHECK[:-1] + JUMP))


def put_first(folder: str) -> None:
    """Let this process and those that it starts import from a folder before all others."""
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH", ""))))


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    if "openvino" not in installed_plugins():
        pytest.skip("onnxruntime-ep-openvino is not installed; it exists for x86-64 alone")
    folder = tmp_path_factory.mktemp("package")
    if "GenuineIntel" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        for_any_cpu(folder)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, put_first, (str(folder),)) as executor:
        yield executor
    shutil.rmtree(folder)


def test_its_answers_are_those_of_onnx_runtime(process: ProcessPoolExecutor, bundle: Bundle, photos: Path) -> None:
    words = ("infer", "--bundle", bundle.path, photos / "test", "--variant", "fp32", "--scores", "logits")
    built_in = answer(*words, "--runtime", "onnxruntime")
    plugin = process.submit(answer, *words, "--provider", "openvino").result()
    assert plugin["runtime"] == "onnxruntime+openvino"
    assert [row["label"] for row in plugin["predictions"]] == [row["label"] for row in built_in["predictions"]]
    # in bfloat16, which OpenVINO would choose by itself on processors that have it, they differ by more than 0.01
    for mine, other in zip(plugin["predictions"], built_in["predictions"], strict=True):
        assert mine["logit"] == pytest.approx(other["logit"], abs=1e-3)


def test_a_result_has_it_under_its_own_name(
    process: ProcessPoolExecutor, bundle: Bundle, photos: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle.path, tmp_path / "copy")
    provider = "openvino,num_streams=1"
    words = ("evaluate", copy, "--data", photos, "--variant", "fp32", "--variant", "int8-cpu", "--no-torch")
    evaluation = process.submit(answer, *words, "--provider", provider, "--margin", "20").result()
    keys = [row["key"] for row in evaluation["candidates"]]
    assert keys == ["fp32/onnxruntime", f"fp32/onnxruntime+{provider}", f"int8-cpu/onnxruntime+{provider}"]
    assert {row["gate"]["verdict"] for row in evaluation["candidates"]} == {"REFERENCE", "PASS"}
    (_,) = (copy / "results").glob("evaluate-test-only-fp32-int8-cpu-onnxruntime+openvino-????????.json")
    timing = ("bench", copy, "--variant", "fp32", "--rounds", "1", "--budget-s", "2", "--batch", "1", "--no-memory")
    (row,) = process.submit(answer, *timing, "--no-limits", "--provider", provider).result()["candidates"]
    assert row["key"] == f"fp32/onnxruntime+{provider}"


def test_bench_opens_it_in_processes_of_their_own(process: ProcessPoolExecutor, bundle: Bundle) -> None:
    (candidate,) = [each for each in candidates(bundle, "onnxruntime+openvino") if each.variant == "fp32"]
    figures = process.submit(run_process, bundle, candidate, threads=1, batch=0).result()
    assert figures.first_answer_s is not None


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    """A classifier with a node that OpenVINO does not take: the determinant of each image's first 3x3 pixels, times 0."""
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "sides"], ["mean"], keepdims=0),
        helper.make_node("Slice", ["float", "starts", "ends", "axes"], ["corner"]),
        helper.make_node("Squeeze", ["corner", "last"], ["square"]),
        helper.make_node("Det", ["square"], ["det"]),
        helper.make_node("Mul", ["det", "zero"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing", "one"], ["column"]),
        helper.make_node("Add", ["mean", "column"], ["logits"]),
    ]
    constants = {"sides": [1, 2], "starts": [0, 0, 0], "ends": [3, 3, 1], "axes": [1, 2, 3], "last": [3], "one": [1]}
    tensors = [helper.make_tensor(name, TensorProto.INT64, [len(each)], each) for name, each in constants.items()]
    tensors.append(helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]))
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 8, 8, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "partial", [images], [logits], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "partial.onnx")
    return tmp_path / "partial.onnx"


def run_partial(file: Path, provider: str, images: NDArray[np.uint8]) -> Any:
    """Return the logits, or the message of the error."""
    try:
        return open_plugin(PluginModel(file, file.name, "0"), parse_provider(provider), classes=3).logits(images)
    except VegrtError as error:
        return str(error)


def test_what_it_does_not_take_runs_on_the_cpu_only_if_allowed(process: ProcessPoolExecutor, partial: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    refused = process.submit(run_partial, partial, "openvino", images).result()
    assert isinstance(refused, str), "it ran"
    assert refused == (
        "partial.onnx: openvino leaves 1 of 8 nodes to the CPU (1 Det); add fallback=cpu to run them there"
    )
    allowed = process.submit(run_partial, partial, "openvino,fallback=cpu", images).result()
    assert allowed == pytest.approx(images.mean(axis=(1, 2)), abs=1e-2)


def kept_contexts() -> list[tuple[str, int]]:
    from vegrt.files.user_cache import cache_home

    return sorted((file.name, file.stat().st_mtime_ns) for file in (cache_home() / "provider-contexts").iterdir())


def test_a_compiled_model_is_kept_and_gives_the_same_answers(
    process: ProcessPoolExecutor, bundle: Bundle, photos: Path
) -> None:
    words = ("infer", "--bundle", bundle.path, photos / "test", "--variant", "fp32", "--scores", "logits")
    provider = ("--provider", "openvino,context=keep")
    first = process.submit(answer, *words, *provider).result()
    (context,) = process.submit(kept_contexts).result()
    assert process.submit(answer, *words, *provider).result() == first
    assert process.submit(kept_contexts).result() == [context]


def test_doctor_lists_it_with_its_devices(process: ProcessPoolExecutor) -> None:
    runtimes = {row["name"]: row for row in process.submit(answer, "doctor").result()["runtimes"]}
    row = runtimes["onnxruntime+openvino"]
    assert row["version"] == installed_plugins()["openvino"].version
    assert row["note"].startswith("plug-in provider, ")


def test_a_device_that_is_not_there_is_one_line(process: ProcessPoolExecutor, bundle: Bundle, photos: Path) -> None:
    words = ("bench", bundle.path, "--variant", "fp32", "--provider", "openvino,hardware=npu")
    line = process.submit(failure, *words).result()
    assert "provider 'openvino': no npu of this machine" in line
    assert "add hardware=cpu" in line


def test_a_provider_that_is_not_installed_is_one_line(bundle: Bundle, photos: Path) -> None:
    words = ("infer", "--bundle", bundle.path, photos / "test")
    assert failure(*words, "--provider", "abacus").endswith("pip install onnxruntime-ep-abacus")
    assert failure(*words, "--provider", "qnn").endswith("pip install onnxruntime-qnn")
    assert "leave --runtime out" in failure(*words, "--provider", "qnn", "--runtime", "mnn")
    assert "expected NAME" in failure(*words, "--provider", "Open VINO")
    assert "--provider" in call("evaluate", "--help").stdout


@pytest.mark.parametrize("text", ["openvino,hardware=tpu", "openvino,fallback=yes", "openvino,context=drop", ",a=b"])
def test_a_wrong_value_names_the_right_ones(text: str) -> None:
    with pytest.raises(VegrtError, match="expected"):
        parse_provider(text)


def test_values_may_have_commas() -> None:
    provider = parse_provider('openvino,load_config={"CPU":{"A":"1","B":"2"}},hardware=gpu,x=')
    assert provider.options == (("load_config", '{"CPU":{"A":"1","B":"2"}}'), ("x", ""))
    assert (provider.name, provider.hardware, provider.fallback) == ("openvino", "gpu", False)


def test_it_is_a_candidate_only_if_named(bundle: Bundle) -> None:
    assert not any(candidate.provider for candidate in candidates(bundle))
    if "openvino" in installed_plugins():
        named = candidates(bundle, "onnxruntime+openvino")
        assert Candidate("int8-cpu", "onnxruntime", provider="openvino") in named
        assert {candidate.runtime_name for candidate in named} == {"onnxruntime+openvino"}
