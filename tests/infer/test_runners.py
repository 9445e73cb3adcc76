"""One test over all runners: torch is the oracle, and nobody may care how images are batched."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from vegrt.bundle import Bundle
from vegrt.dataset import Split
from vegrt.errors import BundleError, EngineError, MissingExtraError, ModelError, VegrtError
from vegrt.infer.open import Candidate, candidates, choose, find_runtime, open_candidate
from vegrt.infer.oracle import TorchRunner
from vegrt.infer.results import save_result
from vegrt.preprocess import load_image

CPU = [
    Candidate(variant, runtime) for runtime in ("onnxruntime", "openvino") for variant in ("fp32", "int8", "int8-cpu")
]


@pytest.fixture(scope="module")
def images(bundle: Bundle, test_split: Split) -> NDArray[np.uint8]:
    return np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])


@pytest.mark.parametrize("candidate", [*CPU, Candidate("fp32", "torch"), Candidate("fp16", "onnxruntime")], ids=str)
def test_every_runner_answers_like_the_oracle(bundle: Bundle, images: NDArray[np.uint8], candidate: Candidate) -> None:
    want = TorchRunner(bundle).logits(images)
    runner = open_candidate(bundle, candidate)
    got = runner.logits(images)
    assert got.dtype == np.float32
    assert got.shape == (len(images), 3)
    assert (got.argmax(axis=1) == want.argmax(axis=1)).mean() >= (0.99 if candidate.variant == "fp32" else 0.9)
    for size in (1, 7):
        part = runner.logits(images[:size])
        assert part.shape == (size, 3)
        assert np.abs(part - got[:size]).max() < 0.05
    first = runner.logits(images[:2]).copy()
    kept = runner.logits(images[:2])
    runner.logits(images[5:7])
    assert np.array_equal(kept, first)  # a runner must not hand out a buffer that the next call overwrites


def test_a_provider_that_is_not_there_is_an_error_and_not_a_silent_fallback(bundle: Bundle) -> None:
    with pytest.raises(VegrtError, match=r"cuda|CUDA"):
        open_candidate(bundle, Candidate("fp32", "onnxruntime"), device="cuda")
    with pytest.raises(VegrtError, match="unknown device"):
        open_candidate(bundle, Candidate("fp32", "onnxruntime"), device="tpu")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="cpu only"):
        open_candidate(bundle, Candidate("fp32", "openvino"), device="cuda")


def test_without_a_gpu_no_tensorrt_runtime_is_constructed(bundle: Bundle) -> None:
    from vegrt.infer.gpu import probe_gpus

    if probe_gpus().gpus:
        pytest.skip("this machine has a GPU; tests/infer/test_gpu.py covers it")
    with pytest.raises((EngineError, MissingExtraError), match=r"GPU|tensorrt"):
        open_candidate(bundle, Candidate("int8", "tensorrt"))


def test_a_broken_model_is_one_error(copied: Bundle) -> None:
    copied.file("model", "fp32").write_bytes(b"not a model")
    for runtime in ("onnxruntime", "openvino"):
        with pytest.raises(ModelError, match=r"fp32\.onnx: .* cannot load it"):
            open_candidate(copied, Candidate("fp32", runtime))


def row(bundle: Bundle, key: str, **more: object) -> dict[str, object]:
    variant = key.split("/")[0]
    return {"key": key, "variant": variant, "artifact_sha256": bundle.artifact("model", variant).sha256} | more


def test_nothing_but_fp32_is_chosen_before_the_gate_has_passed_it(copied: Bundle) -> None:
    assert choose(copied).candidate.variant == "fp32"
    assert "no variant passed the gate" in choose(copied).reason
    gates = {"fp32/onnxruntime": "REFERENCE", "int8-cpu/onnxruntime": "PASS", "int8/onnxruntime": "FAIL"}
    rows = [row(copied, key, gate={"verdict": verdict}) for key, verdict in gates.items()]
    save_result(copied, "evaluate-test", {"candidates": rows})
    speeds = {"fp32/onnxruntime": 50.0, "int8-cpu/onnxruntime": 90.0, "int8/onnxruntime": 400.0}
    timed = [row(copied, key, batches=[{"images_per_s": speed}]) for key, speed in speeds.items()]
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
    with pytest.raises(VegrtError, match="onnxruntime, openvino, tensorrt, torch"):
        find_runtime("tflite")
    with pytest.raises(BundleError, match=r"no int4 model in it \(variants: fp32, fp16, int8, int8-cpu\)"):
        choose(bundle, "int4")
    with pytest.raises(VegrtError, match="holds no ONNX model yet; make it: vegrt export"):
        choose(trained)
    assert {str(one) for one in candidates(bundle)} >= {"fp32/onnxruntime", "fp16/onnxruntime", "int8-cpu/openvino"}


def test_torch_is_the_checkpoint_and_nothing_else(bundle: Bundle, trained: Bundle) -> None:
    for one in (bundle, trained):
        assert [str(found) for found in candidates(one, "torch")] == ["fp32/torch"]
        assert str(choose(one, runtime="torch").candidate) == "fp32/torch"
    with pytest.raises(VegrtError, match="int8 was asked for"):
        open_candidate(bundle, Candidate("int8", "torch"))
    with pytest.raises(VegrtError, match="int8 to run on torch"):
        choose(bundle, "int8", "torch")


def test_a_gpu_is_offered_only_to_runtimes_that_use_it(bundle: Bundle) -> None:
    assert {one.runtime for one in candidates(bundle, device="cuda")} == {"onnxruntime"}


INTERRUPTED = """
import signal, sys
from pathlib import Path
from vegrt.infer.openvino import open_openvino
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
