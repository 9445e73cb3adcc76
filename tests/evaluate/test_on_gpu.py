"""Evaluation, benchmark and choice on a GPU. Run by `make gpu-check`, where a missing GPU is a failure and not a skip."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.dataset.photos import Split
from vegrt.evaluate.benchmark.bench import bench
from vegrt.evaluate.benchmark.setup import Conditions
from vegrt.evaluate.evaluate import candidates_to_evaluate, evaluate
from vegrt.evaluate.golden import TOLERANCE
from vegrt.evaluate.selection import Selection, select_candidates
from vegrt.evaluate.verify import verify
from vegrt.infer.machine.gpu import probe_gpus
from vegrt.infer.runtimes.choice import rank_choices
from vegrt.infer.runtimes.open import open_runner
from vegrt.infer.runtimes.tensorrt.engine import fitting_engine, local_fingerprint
from vegrt.results.files import save_result

pytestmark = pytest.mark.gpu


def test_what_was_measured_on_the_gpu_is_chosen(bundle: Bundle, test_split: Split, tmp_path: Path) -> None:
    """The default of evaluate and bench covers the GPU, and infer then chooses by its rows."""
    copied = open_bundle(Path(shutil.copytree(bundle.path, tmp_path / "copied")))
    evaluation = evaluate(copied, test_split, candidates_to_evaluate(copied), margin=40)
    engine = fitting_engine(copied, "int8", local_fingerprint())
    rows = {row.key: row for row in evaluation.candidates}
    assert {"fp32/onnxruntime", "fp32/onnxruntime/cuda", "fp16/tensorrt", "int8/tensorrt"} <= rows.keys()
    record = rows["int8/tensorrt"].engine
    assert record is not None
    assert (record.path, rows["int8/tensorrt"].artifact_sha256) == (engine.path, engine.sha256)
    assert evaluation.machine.gpu == probe_gpus().gpus[0].name
    chosen = select_candidates(copied, Selection())
    measured = bench(copied, chosen, rounds=3, batch_sizes=(1, 8), conditions=Conditions(memory=False, limits=False))
    save_result(copied, "evaluate-test", evaluation)
    save_result(copied, "bench", measured)
    first = rank_choices(copied)[0]
    passed = [row.key for row in evaluation.candidates if row.gate.verdict in ("PASS", "REFERENCE")]
    costs = {row.key: row.batches[0].p50_ms for row in measured.candidates if row.key in passed}
    assert str(first.candidate) == min(costs, key=lambda key: costs[key])
    assert first.reason == "fastest that passed the gate"
    assert open_runner(copied).candidate == first.candidate
    assert rank_choices(copied, device="cpu")[0].device == "cpu"


def test_engines_answered_the_golden_photos_when_they_were_built(bundle: Bundle) -> None:
    for variant in ("fp16", "int8"):
        details = fitting_engine(bundle, variant, local_fingerprint()).details
        assert details["golden_cosine"] >= TOLERANCE[variant]
    checks = {check.subject: check.status for check in verify(bundle)}
    assert (checks["fp16/tensorrt"], checks["int8/tensorrt"], checks["fp32/onnxruntime/cuda"]) == ("ok",) * 3
