"""What was not run is listed with its cause, also where a GPU is concerned."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from tests.result_files import ENGINE, L4, SERVER
from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.bench import bench
from vegrt.evaluate.benchmark.setup import Conditions
from vegrt.evaluate.coverage import not_run
from vegrt.evaluate.evaluate import evaluate
from vegrt.evaluate.wording import not_run_cause
from vegrt.infer.machine.gpu import GpuProbe, probe_gpus
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.host import Host
from vegrt.results.evaluation import NotRun

REFERENCE, ON_CUDA = Candidate("fp32", "onnxruntime"), Candidate("fp32", "onnxruntime", "cuda")
WITHOUT_GPU = replace(SERVER, gpu=GpuProbe((), "", "no driver"), tensorrt=None, cuda_provider=False)


@pytest.mark.parametrize(
    ("host", "own_cause", "other_cause"),
    [
        (SERVER, "not-requested", "other-machine"),
        (replace(SERVER, tensorrt=replace(L4, version="11.0.0")), "other-machine", "other-machine"),
        (WITHOUT_GPU, "no-gpu", "no-gpu"),
        (replace(WITHOUT_GPU, runtimes=frozenset({"onnxruntime"})), "no-tensorrt", "no-tensorrt"),
    ],
)
def test_an_engine_that_was_not_run_has_its_cause(
    two_gpus: Bundle, host: Host, own_cause: str, other_cause: str
) -> None:
    missing = {entry.artifact: entry for entry in not_run(two_gpus, [REFERENCE], host=host)}
    assert "fp32.onnx" not in missing
    assert missing["int8.onnx"].cause == "not-requested"
    causes = [missing[ENGINE[gpu].format("int8")].cause for gpu in ("L4", "Orin")]
    assert causes == [own_cause, other_cause]
    if other_cause == "other-machine":
        words = not_run_cause(missing[ENGINE["Orin"].format("int8")])
        assert words == "an engine for another GPU or TensorRT: built for Orin (sm87) by tensorrt 10.3.0"


def test_an_engine_that_ran_is_not_listed(two_gpus: Bundle) -> None:
    engine = Candidate("int8", "tensorrt", "cuda", ENGINE["L4"].format("int8"))
    paths = [entry.artifact for entry in not_run(two_gpus, [REFERENCE, engine], host=SERVER)]
    assert engine.engine not in paths
    assert ENGINE["Orin"].format("int8") in paths


def test_what_cannot_be_loaded_is_listed_with_the_error(two_gpus: Bundle) -> None:
    path = ENGINE["L4"].format("int8")
    (entry,) = (
        e for e in not_run(two_gpus, [], failed={path: "TensorRT refuses it"}, host=SERVER) if e.artifact == path
    )
    assert entry == NotRun(path, "not-loaded", detail="TensorRT refuses it")
    assert not_run_cause(entry) == "it cannot be loaded (TensorRT refuses it)"


@pytest.mark.skipif(bool(probe_gpus().gpus), reason="this machine has a GPU, where the candidate can be loaded")
def test_a_gpu_that_was_not_asked_for_does_not_end_the_measurement(
    bundle: Bundle, test_split: Split, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = [REFERENCE, ON_CUDA]
    with caplog.at_level(logging.WARNING):
        evaluation = evaluate(bundle, test_split, chosen, margin=0.5, gpu_required=False)
        timed = bench(
            bundle,
            chosen,
            rounds=1,
            batch_sizes=(1,),
            conditions=Conditions(1, memory=False, limits=False, gpu_required=False),
        )
    assert [row.key for row in evaluation.candidates] == [row.key for row in timed.candidates] == ["fp32/onnxruntime"]
    assert "fp32/onnxruntime/cuda cannot be loaded here and is not evaluated (onnxruntime" in caplog.text
    assert "fp32/onnxruntime/cuda cannot be loaded here and is not timed (onnxruntime" in caplog.text
    with pytest.raises(VegrtError, match="CUDAExecutionProvider"):
        evaluate(bundle, test_split, chosen, margin=0.5)
    with pytest.raises(VegrtError, match="CUDAExecutionProvider"):
        bench(bundle, chosen, rounds=1, batch_sizes=(1,), conditions=Conditions(1, memory=False, limits=False))
