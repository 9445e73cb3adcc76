"""One test over all runners: torch is the oracle, and nobody may care how images are batched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import BundleError, EngineError, MissingExtraError, ModelError, VegrtError
from vegrt.infer.runtimes.candidates import Candidate, candidates, find_runtime, reference_candidate
from vegrt.infer.runtimes.choice import choose
from vegrt.infer.runtimes.logits import cosines
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.onnxruntime.session import is_faster_in_float, open_session, run_model
from vegrt.infer.runtimes.open import open_candidate, open_runner
from vegrt.infer.runtimes.openvino.compiled import compile_model, compiled_models
from vegrt.infer.runtimes.openvino.runner import needs_float, open_openvino, open_request, run_request
from vegrt.infer.runtimes.torch import TorchRunner
from vegrt.machine import examine_machine
from vegrt.photo.preprocess import load_image
from vegrt.results import files as results
from vegrt.results.benchmark import Bench
from vegrt.results.convert import from_dict, to_dict
from vegrt.results.evaluation import Evaluation
from vegrt.results.header import header_fields, this_machine

CPU = [
    Candidate(variant, runtime) for runtime in ("onnxruntime", "openvino") for variant in ("fp32", "int8", "int8-cpu")
]


@pytest.fixture(scope="module")
def images(bundle: Bundle, test_split: Split) -> NDArray[np.uint8]:
    return np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test a cache of its own, so that OpenVINO reads the model's file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


OTHERS = [Candidate("fp32", "mnn"), Candidate("fp32", "torch"), Candidate("fp16", "onnxruntime")]


@pytest.mark.parametrize("candidate", [*CPU, *OTHERS], ids=str)
def test_every_runner_answers_like_the_oracle(bundle: Bundle, images: NDArray[np.uint8], candidate: Candidate) -> None:
    want = TorchRunner(bundle).logits(images)
    runner = open_candidate(bundle, candidate)
    logits = runner.logits(images)
    assert logits.dtype == np.float32
    assert logits.shape == (len(images), 3)
    assert (logits.argmax(axis=1) == want.argmax(axis=1)).mean() >= (0.99 if candidate.variant == "fp32" else 0.9)
    for size in (1, 7):
        part = runner.logits(images[:size])
        assert part.shape == (size, 3)
        assert np.abs(part - logits[:size]).max() < 0.05
    first = runner.logits(images[:2]).copy()
    earlier = runner.logits(images[:2])
    runner.logits(images[5:7])
    assert np.array_equal(earlier, first)  # a runner must not hand out a buffer that the next call overwrites


def test_onnx_runtime_computes_int8_in_float_on_x86(
    bundle: Bundle, images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    for processor, expected in (("AMD64", True), ("x86_64", True), ("aarch64", False)):
        monkeypatch.setattr("platform.machine", lambda processor=processor: processor)
        assert is_faster_in_float("int8") == expected
        assert not is_faster_in_float("int8-cpu")
    file, logits = bundle.file("model", "int8"), []
    for in_float in (False, True):
        session = open_session(file, float16=True, in_float=in_float)
        if in_float:
            assert session.get_session_options().get_session_config_entry("session.disable_quant_qdq") == "1"
        logits.append(run_model(session, ["logits"], images, "int8.onnx")[0])
    assert np.abs(logits[0] - logits[1]).max() < 0.05 * np.abs(logits[0]).max()


def test_arithmetic_of_16_bits_on_the_float32_model(bundle: Bundle, images: NDArray[np.uint8]) -> None:
    """On a CPU without the instructions the runtimes compute in float32, and vegrt does not offer these candidates."""
    exact = open_candidate(bundle, Candidate("fp32", "onnxruntime")).logits(images)
    features = {*examine_machine().cpu.features}
    for candidate, has_it in (
        (Candidate("bf16", "openvino"), bool(features & {"avx512_bf16", "amx_bf16"})),
        (Candidate("fp16", "mnn"), "asimdhp" in features),
    ):
        logits = open_candidate(bundle, candidate).logits(images)
        assert cosines(exact, logits).min() > 0.99
        assert (np.abs(logits - exact).max() > 1e-3) == has_it, candidate
        assert (candidate in candidates(bundle, device="cpu")) == has_it


def test_a_provider_that_is_not_there_is_an_error_and_not_a_silent_fallback(bundle: Bundle) -> None:
    for runtime, provider in (("onnxruntime", "CUDA"), ("onnxruntime-tensorrt", "Tensorrt")):
        with pytest.raises(VegrtError, match=rf"{provider}ExecutionProvider .*vegrt\[gpu\]"):
            open_candidate(bundle, Candidate("fp32", runtime), device="cuda")  # type: ignore[arg-type]
    with pytest.raises(VegrtError, match="unknown device"):
        open_candidate(bundle, Candidate("fp32", "onnxruntime"), device="tpu")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="cpu only"):
        open_candidate(bundle, Candidate("fp32", "openvino"), device="cuda")


def test_without_a_gpu_no_tensorrt_runtime_is_constructed(bundle: Bundle) -> None:
    from vegrt.infer.machine.gpu import probe_gpus

    if probe_gpus().gpus:
        pytest.skip("this machine has a GPU; tests/infer/runtimes/test_on_gpu.py covers it")
    with pytest.raises((EngineError, MissingExtraError), match=r"GPU|tensorrt"):
        open_candidate(bundle, Candidate("int8", "tensorrt"))


@pytest.mark.usefixtures("empty_cache")
def test_a_broken_model_is_one_error(copied: Bundle) -> None:
    file = copied.file("model", "fp32")
    file.write_bytes(b"not a model")
    for runtime in ("onnxruntime", "openvino"):
        with pytest.raises(ModelError, match=r"fp32\.onnx: .* cannot load it"):
            open_candidate(copied, Candidate("fp32", runtime))


def point(images_per_s: float) -> dict[str, float]:
    """One photo at a time, as a benchmark has it."""
    return {"batch": 1, "p50_ms": 1e3 / images_per_s, "images_per_s": images_per_s}


def row(bundle: Bundle, key: str, **more: Any) -> dict[str, Any]:
    """Return a candidate's row of a result file: what the test says, and the rest as it may be."""
    variant, runtime = key.split("/")
    known = bundle.artifact("model", variant)
    row = {"key": key, "variant": variant, "runtime": runtime, "artifact_sha256": known.sha256, "size_bytes": 9}
    if "gate" in more:
        sure = {"value": 1.0, "low": 0.9, "high": 1.0}
        counts = dict.fromkeys(("flips", "newly_wrong", "newly_right", "wrong_to_other_wrong"), 0)
        paired = counts | {"agreement": 1.0, "drop": dict.fromkeys(sure, 0.0), "mcnemar_p": 1.0}
        row |= {"top1": sure, "top3": sure, "nll": 0.1, "ece": 0.1, "confusion": [[1, 0], [0, 1]], "paired": paired}
    for point in more.get("batches", ()):
        point.setdefault("batch", 1)
        point.setdefault("p50_ms", 1000 * point["batch"] / point["images_per_s"])
    return row | more


def save_result(bundle: Bundle, name: str, body: dict[str, Any]) -> None:
    """Save a result as `results.save_result` does, with what the test leaves out of an evaluation: two photos."""
    if name == "evaluate-test":
        keys = [row["key"] for row in body["candidates"]]
        body["candidates"][0]["gate"]["verdict"] = "REFERENCE"
        answers = {key: {"top1": [0, 1], "probability": [1.0, 1.0]} for key in keys}
        predictions = {"paths": ["a/0.jpg", "b/0.jpg"], "labels": [0, 1], "candidates": answers}
        figures = {"images": 2, "classes": ["a", "b"], "margin_points": 0.5, "confidence": 0.95}
        body = figures | {"predictions": predictions} | body
    kind = Evaluation if name == "evaluate-test" else Bench
    results.save_result(bundle, name, from_dict(kind, to_dict(header_fields(bundle, kind.KIND)) | body))


def test_nothing_but_fp32_is_chosen_before_the_gate_has_passed_it(copied: Bundle) -> None:
    assert choose(copied).candidate.variant == "fp32"
    assert "no variant passed the gate" in choose(copied).reason
    gates = {"fp32/onnxruntime": "REFERENCE", "int8-cpu/onnxruntime": "PASS", "int8/onnxruntime": "FAIL"}
    rows = [row(copied, key, gate={"verdict": verdict}) for key, verdict in gates.items()]
    save_result(copied, "evaluate-test", {"candidates": rows})
    speeds = {"fp32/onnxruntime": 50.0, "int8-cpu/onnxruntime": 90.0, "int8/onnxruntime": 400.0}
    timed = [row(copied, key, batches=[point(speed)]) for key, speed in speeds.items()]
    save_result(copied, "bench", {"candidates": timed})
    assert str(choose(copied).candidate) == "int8-cpu/onnxruntime"  # the fastest of all failed the gate
    assert choose(copied).reason == "fastest that passed the gate"
    assert str(choose(copied, "int8").candidate) == "int8/onnxruntime"  # but who asks for it gets it
    assert choose(copied, runtime="openvino").candidate.variant == "fp32"  # nothing passed there


def test_results_about_other_artifacts_are_not_used(copied: Bundle) -> None:
    rows = [row(copied, "int8-cpu/onnxruntime", gate={"verdict": "PASS"}, artifact_sha256="0" * 64)]
    save_result(copied, "evaluate-test", {"candidates": rows})
    assert choose(copied).candidate.variant == "fp32"


def test_names_that_do_not_exist_list_those_that_do(bundle: Bundle, trained: Bundle) -> None:
    with pytest.raises(VegrtError, match="onnxruntime, openvino, mnn, tensorrt, torch"):
        find_runtime("tflite")
    with pytest.raises(BundleError, match=r"no int4 model \(variants: fp32, fp16, int8, int8-cpu\)"):
        choose(bundle, "int4")
    with pytest.raises(VegrtError, match="holds no ONNX model yet; make it: vegrt export"):
        choose(trained)
    assert {str(candidate) for candidate in candidates(bundle)} >= {
        "fp32/onnxruntime",
        "fp16/onnxruntime",
        "int8-cpu/openvino",
    }


def test_torch_is_the_checkpoint_and_nothing_else(bundle: Bundle, trained: Bundle) -> None:
    for subject in (bundle, trained):
        assert [str(candidate) for candidate in candidates(subject, "torch")] == ["fp32/torch"]
        assert str(choose(subject, runtime="torch").candidate) == "fp32/torch"
    with pytest.raises(VegrtError, match="not int8"):
        open_candidate(bundle, Candidate("int8", "torch"))
    with pytest.raises(VegrtError, match="int8 to run on torch"):
        choose(bundle, "int8", "torch")


def test_a_gpu_is_offered_only_to_runtimes_that_use_it(bundle: Bundle) -> None:
    assert {candidate.runtime for candidate in candidates(bundle, device="cuda")} == {"onnxruntime"}


@pytest.mark.usefixtures("empty_cache")
def test_the_best_model_that_loads_is_opened_and_the_reason_is_logged(
    copied: Bundle, images: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    keys = {"fp32/onnxruntime": 50.0, "int8-cpu/onnxruntime": 90.0, "int8-cpu/openvino": 120.0}
    gate = {"fp32/onnxruntime": "REFERENCE"}
    rows = [row(copied, key, gate={"verdict": gate.get(key, "PASS")}) for key in keys]
    save_result(copied, "evaluate-test", {"candidates": rows})
    timed = [row(copied, key, batches=[point(speed)]) for key, speed in keys.items()]
    save_result(copied, "bench", {"candidates": timed})
    opened = open_runner(str(copied.path))
    assert (str(opened.candidate), opened.reason) == ("int8-cpu/openvino", "fastest that passed the gate")
    assert opened.runner.logits(images[:2]).shape == (2, 3)
    assert f"{copied.path}: int8-cpu on openvino (fastest that passed the gate)" in caplog.text
    assert str(open_runner(copied, "fp32").candidate) == "fp32/onnxruntime"

    file = copied.file("model", "int8-cpu")
    file.write_bytes(b"not a model")  # after the bundle was opened: its hash is not checked again
    shutil.rmtree(compiled_models().folder)
    caplog.clear()
    fallen = open_runner(copied)
    assert str(fallen.candidate) == "fp32/onnxruntime"
    assert fallen.reason == "the first choice cannot be loaded; fastest that passed the gate"
    assert [text.partition(" on cpu cannot be loaded here")[0] for text in caplog.messages[:2]] == [
        "int8-cpu/openvino",
        "int8-cpu/onnxruntime",
    ]
    with pytest.raises(ModelError, match="OpenVINO cannot load it"):
        open_runner(copied, "int8-cpu", "openvino")
    with pytest.raises(BundleError, match="damaged"):
        open_runner(copied.path)


def test_speeds_of_another_machine_are_used_and_called_so(copied: Bundle) -> None:
    gates = [row(copied, key, gate={"verdict": "PASS"}) for key in ("fp32/onnxruntime", "int8-cpu/onnxruntime")]
    save_result(copied, "evaluate-test", {"candidates": gates})
    timed = [row(copied, "int8-cpu/onnxruntime", batches=[point(9.0)])]
    body = {"candidates": timed, "machine": to_dict(this_machine()) | {"cpu": "Cortex-A78AE"}}
    save_result(copied, "bench", body)
    choice = choose(copied)
    assert str(choice.candidate) == "int8-cpu/onnxruntime"
    assert choice.reason.startswith("fastest that passed the gate on Cortex-A78AE; this is ")


def test_without_a_benchmark_an_8_bit_variant_that_passed_comes_first(copied: Bundle) -> None:
    gates = [row(copied, key, gate={"verdict": "PASS"}) for key in ("fp32/onnxruntime", "int8-cpu/onnxruntime")]
    save_result(copied, "evaluate-test", {"candidates": gates})
    assert str(choose(copied).candidate) == "int8-cpu/onnxruntime"
    assert "not benchmarked here yet" in choose(copied).reason
    assert str(choose(copied, "fp32").candidate) == "fp32/onnxruntime"  # the exact one, whatever the forecast says


def test_results_on_the_cpu_do_not_count_for_a_gpu(copied: Bundle) -> None:
    gates = [row(copied, "int8-cpu/onnxruntime", gate={"verdict": "PASS"}, device="cpu")]
    save_result(copied, "evaluate-test", {"candidates": gates})
    assert choose(copied).candidate.variant == "int8-cpu"
    assert choose(copied, device="cuda").candidate.variant == "fp32"


def test_the_tensorrt_provider_is_offered_the_variants_that_it_takes(bundle: Bundle) -> None:
    offered = candidates(bundle, "onnxruntime-tensorrt")
    assert [str(candidate) for candidate in offered] == [
        f"{variant}/onnxruntime-tensorrt" for variant in ("fp32", "fp16", "int8")
    ]
    assert {candidate.device for candidate in offered} == {"cuda"}
    assert reference_candidate(bundle, offered) == Candidate("fp32", "onnxruntime")


def test_openvino_reads_contiguous_images_where_they_lie(bundle: Bundle, images: NDArray[np.uint8]) -> None:
    request = open_request(compile_model(bundle.file("model", "fp32")), "fp32")
    run_request(request, ["logits"], images, "fp32")
    assert np.shares_memory(request.get_tensor("images").data, images)


def saturating(path: Path) -> Path:
    """Write an int8 model whose activations and weights are all the largest there are; its logits are 64 * 9 * 127 / 100 each."""
    whole, scale = np.ones((16, 64, 3, 3), np.float32), np.float32(1 / 127)
    constants = {
        "step": np.float32(1.0),
        "zero": np.int8(0),
        "weights": (whole * 127).astype(np.int8),
        "scale": scale,
        "spread": np.ones((64, 3, 1, 1), np.float32) / 3,
        "hundredth": np.float32(0.01),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["rows"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["rows", "spread"], ["wide"]),
        helper.make_node("QuantizeLinear", ["wide", "step", "zero"], ["wide_q"]),
        helper.make_node("DequantizeLinear", ["wide_q", "step", "zero"], ["wide_dq"]),
        helper.make_node("DequantizeLinear", ["weights", "scale", "zero"], ["weights_dq"]),
        helper.make_node("Conv", ["wide_dq", "weights_dq"], ["sums"]),
        helper.make_node("Mul", ["sums", "hundredth"], ["small"]),
        helper.make_node("GlobalAveragePool", ["small"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "saturating",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 16])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_openvino_computes_in_float_what_would_saturate(tmp_path: Path) -> None:
    file, images = saturating(tmp_path / "int8.onnx"), np.full((2, 8, 8, 3), 255, np.uint8)
    logits = open_openvino(file, in_float=needs_float("int8")).logits(images)
    np.testing.assert_allclose(
        logits, 64 * 9 * 127 / 100, rtol=5e-3
    )  # bfloat16 where the processor has it; saturated: 5.8
    assert not needs_float("int8-cpu")


def signed_concatenation(path: Path) -> Path:
    """Write an int8 model of TensorRT's rules whose last convolution reads what a Concat of two others gives, quantized."""
    random = np.random.default_rng(0)
    constants = {"step": np.float32(2.0), "half": np.float32(0.02), "zero": np.int8(0), "scale": np.float32(0.01)}
    shapes = {"first": (8, 3, 1, 1), "second": (8, 3, 3, 3), "last": (5, 16, 3, 3)}
    weights = {name: random.integers(-127, 128, shape).astype(np.int8) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["rows"], perm=[0, 3, 1, 2]),
        helper.make_node("QuantizeLinear", ["rows", "step", "zero"], ["rows_q"]),
        helper.make_node("DequantizeLinear", ["rows_q", "half", "zero"], ["rows_dq"]),
        *(helper.make_node("DequantizeLinear", [name, "scale", "zero"], [f"{name}_dq"]) for name in weights),
        helper.make_node("Conv", ["rows_dq", "first_dq"], ["a"]),
        helper.make_node("Conv", ["rows_dq", "second_dq"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Concat", ["a", "b"], ["both"], axis=1),
        helper.make_node("QuantizeLinear", ["both", "half", "zero"], ["both_q"]),
        helper.make_node("DequantizeLinear", ["both_q", "half", "zero"], ["both_dq"]),
        helper.make_node("Conv", ["both_dq", "last_dq"], ["sums"]),
        helper.make_node("GlobalAveragePool", ["sums"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "signed_concatenation",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants | weights).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_openvino_keeps_the_scale_of_what_a_concat_gives(tmp_path: Path) -> None:
    file = signed_concatenation(tmp_path / "int8.onnx")
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), np.uint8)
    expected = open_onnxruntime(file, in_float=True).logits(images)
    logits = open_openvino(file).logits(images)
    assert np.abs(logits - expected).max() < 0.02 * np.ptp(expected)


THREADS = """
import gc, os, sys
os.sched_setaffinity(0, map(int, sys.argv[3].split(",")))
import numpy as np
import onnxruntime, openvino
from pathlib import Path
from typing import Any
from vegrt.bundle.bundle import open_bundle
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.open import open_candidate
bundle = open_bundle(Path(sys.argv[1]), verify=False)
size = bundle.manifest.contract.size
runners = [open_candidate(bundle, Candidate("fp32", name), threads=int(sys.argv[2])) for name in ("onnxruntime", "openvino")]
for runner in runners:
    runner.logits(np.zeros((4, size, size, 3), np.uint8))
(session,) = [value for value in gc.get_objects() if isinstance(value, onnxruntime.InferenceSession)]
(compiled,) = [value for value in gc.get_objects() if isinstance(value, openvino.CompiledModel)]
print(session.get_session_options().intra_op_num_threads, compiled.get_property("INFERENCE_NUM_THREADS"))
"""


@pytest.mark.parametrize(("affinity", "threads", "want"), [(1, 0, "1"), (2, 0, "2"), (2, 1, "1")])
def test_threads_are_those_asked_for_or_all_that_the_process_may_use(
    bundle: Bundle, affinity: int, threads: int, want: str
) -> None:
    cores = sorted(os.sched_getaffinity(0))[:affinity]
    if len(cores) < affinity:
        pytest.skip("needs two cores")
    words = [sys.executable, "-c", THREADS, str(bundle.path), str(threads), ",".join(map(str, cores))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [want, want], done.stderr


INTERRUPTED = """
import signal, sys
from pathlib import Path
from typing import Any
from vegrt.infer.runtimes.openvino.runner import open_openvino
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where the tests run in the background
for _ in range(2):
    runners = [open_openvino(Path(sys.argv[1])) for _ in range(2)]
    while runners:
        del runners[0]
signal.raise_signal(signal.SIGINT)
"""


def test_an_interrupt_after_openvino_was_used_is_no_crash(bundle: Bundle) -> None:
    command = [sys.executable, "-X", "faulthandler", "-c", INTERRUPTED, str(bundle.file("model", "fp32"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stderr.strip().endswith("KeyboardInterrupt")
    assert done.returncode == -signal.SIGINT
