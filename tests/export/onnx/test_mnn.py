"""fp32.mnn: converted without a word on stdout, held to the parity of fp32.onnx, and a candidate like any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.pixels import PhotoSet, PixelStore
from vegrt.dataset.photos import Split
from vegrt.errors import ModelError
from vegrt.export.onnx.mnn import make_mnn
from vegrt.export.onnx.parity import Evidence, load_evidence
from vegrt.infer.runtimes.candidates import Candidate, artifact_of, candidates
from vegrt.infer.runtimes.mnn import open_mnn
from vegrt.infer.runtimes.mnn_converter import convert_to_mnn
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.open import open_runner


@pytest.fixture(scope="module")
def evidence(bundle: Bundle, test_split: Split) -> Evidence:
    return load_evidence(bundle, PhotoSet(test_split.photos, PixelStore(bundle.manifest.contract)), 32)


def test_an_export_writes_the_file_with_its_parity(bundle: Bundle) -> None:
    candidate = Candidate("fp32", "mnn")
    assert candidate in candidates(bundle)
    artifact = artifact_of(bundle, candidate)
    assert (artifact.path, artifact.role) == ("fp32.mnn", "mnn")
    assert artifact.details["parity"]["min_cosine"] > 0.9999
    assert artifact.details["parity"]["top1_agreement"] == 1


def test_a_file_that_answers_otherwise_is_left_out(
    bundle: Bundle, evidence: Evidence, caplog: pytest.LogCaptureFixture
) -> None:
    source = bundle.file("model", "fp32").read_bytes()
    reference = evidence.answers(open_onnxruntime(source))
    model = onnx.load_model_from_string(source)
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == "fc.weight"]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[::-1].copy(), weight.name))
    assert make_mnn(source, evidence, reference) is not None
    assert make_mnn(model.SerializeToString(), evidence, reference) is None
    assert "fp32.mnn: cosine" in caplog.text
    assert "the bundle has no fp32.mnn" in caplog.text


def test_what_is_not_a_graph_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^fp32\.mnn: MNN cannot convert fp32\.onnx \(.*\)$"):
        convert_to_mnn(b"not a graph", tmp_path)
    file = tmp_path / "cut.mnn"
    file.write_bytes(b"not a model" * 100)
    with pytest.raises(ModelError, match=r"cut\.mnn: MNN cannot load it \(.*\); export the bundle again"):
        open_mnn(file)
    with pytest.raises(ModelError, match="cpu only"):
        open_mnn(file, device="cuda")


def test_only_results_reach_stdout(bundle: Bundle, photos: Path) -> None:
    words = ["infer", str(photos / "test/Beet/000.jpg"), "--bundle", str(bundle.path), "--runtime", "mnn"]
    command = [sys.executable, "-c", "from vegrt.cli import main; main()", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    (line,) = done.stdout.splitlines()
    assert "000.jpg" in line
    assert "MNN" in done.stderr


def test_a_gpu_that_was_asked_for_is_refused_and_not_replaced_by_the_cpu(bundle: Bundle) -> None:
    with pytest.raises(ModelError, match="mnn: device 'cuda'; vegrt runs MNN on the cpu only"):
        open_runner(bundle, runtime="mnn", device="cuda")


def test_any_batch_on_one_loaded_model(bundle: Bundle) -> None:
    runner = open_mnn(bundle.file("mnn", "fp32"), threads=1, classes=len(bundle.manifest.classes))
    oracle = open_onnxruntime(bundle.file("model", "fp32"))
    images = np.random.default_rng(3).integers(0, 256, (33, *bundle.manifest.contract.shape), np.uint8)
    for count in (1, 33, 2, 7, 0):
        assert np.allclose(runner.logits(images[:count]), oracle.logits(images[:count]), atol=1e-3)
