"""What this CPU can multiply, measured by real runtimes on small products, and the shares of real benchmarks' rows."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from vegrt.bundle.bundle import Bundle
from vegrt.evaluate.benchmark.bench import bench
from vegrt.evaluate.benchmark.limits import Effort, add_limits, measure_limits
from vegrt.evaluate.benchmark.products import INPUT, OUTPUT, Product
from vegrt.evaluate.benchmark.setup import Conditions
from vegrt.evaluate.benchmark.statistics import summarize_times
from vegrt.evaluate.benchmark.tables import bench_table
from vegrt.infer.runtimes.candidates import Candidate, candidate_row
from vegrt.infer.runtimes.onnx_file import read_nodes
from vegrt.infer.runtimes.onnxruntime.session import open_session, run_model
from vegrt.infer.runtimes.openvino.compiled import compile_model
from vegrt.infer.runtimes.openvino.runner import open_request, run_request
from vegrt.results.benchmark import ARITHMETICS, Arithmetic, Bench, BenchCandidate, MachineLimit
from vegrt.results.convert import fields_of, from_dict, to_dict
from vegrt.results.header import header_fields

SMALL = Product(8, 96, 32)
QUICK = Effort(SMALL, runs=2, least_s=0.0)


def rows_of(bundle: Bundle, *chosen: Candidate) -> tuple[BenchCandidate, ...]:
    """Return rows of 100 images per second."""
    timings = (summarize_times(1, [0.01] * 5),)
    return tuple(BenchCandidate(**fields_of(candidate_row(bundle, row)), load_s=0.1, batches=timings) for row in chosen)


def bench_of(bundle: Bundle, *chosen: Candidate) -> Bench:
    return Bench(**header_fields(bundle, Bench.KIND), rounds=5, threads=2, candidates=rows_of(bundle, *chosen))


def shares(measured: Bench) -> dict[str, float | None]:
    return {row.key: row.batches[0].limit_share for row in measured.candidates}


def table_of(measured: Bench) -> Table:
    timed = (replace(row, copies=row.batches, end_to_end=row.batches) for row in measured.candidates)
    return bench_table(replace(measured, candidates=tuple(timed)))


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_both_runtimes_multiply_what_numpy_multiplies(arithmetic: Arithmetic) -> None:
    model, operand = SMALL.model(arithmetic), SMALL.operand()
    weights = np.random.default_rng(0).integers(-64, 65, (SMALL.inner, SMALL.columns), np.int8).astype(np.float64)
    exact = operand.astype(np.float64) @ weights
    (first,) = run_model(open_session(model, threads=1), [OUTPUT], operand, "product")
    (second,) = run_request(open_request(compile_model(model, threads=1), "product"), [OUTPUT], operand, "product")
    if arithmetic == "float32":
        assert np.allclose(first, exact / 64, rtol=1e-5, atol=1e-2)
        assert np.allclose(second, first, rtol=1e-5, atol=1e-2)
        return
    assert first.dtype == np.uint8
    assert np.corrcoef(first.ravel(), exact.ravel())[0, 1] > 0.99
    assert ((first > 0) & (first < 255)).mean() > 0.99  # hardly a sum leaves 8 bits
    assert np.abs(first.astype(int) - second.astype(int)).max() <= 1


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_the_bytes_are_a_valid_onnx_model_of_one_product(arithmetic: Arithmetic) -> None:
    import onnx

    proto = onnx.load_model_from_string(SMALL.model(arithmetic))
    onnx.checker.check_model(proto, full_check=True)
    assert [each.name for each in (*proto.graph.input, *proto.graph.output)] == [INPUT, OUTPUT]
    assert [node.kind for node in read_nodes(SMALL.model(arithmetic))].count("MatMul") == 1


def test_the_8_bit_product_runs_in_8_bit_kernels(tmp_path: Path) -> None:
    """In each runtime's own graph after its optimization; otherwise the limit in 8 bits would be one of float32."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(SMALL.model("int8"), options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert kinds & {"QLinearMatMul", "MatMulIntegerToFloat", "QGemm"}
    assert "MatMul" not in kinds
    compiled = compile_model(SMALL.model("int8"), threads=1, precision="f32")
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    (product,) = (info for info in infos if info["layerType"] in ("MatMul", "FullyConnected"))
    assert product["runtimePrecision"] in ("u8", "i8")


def test_every_runtime_has_a_limit_for_one_thread_and_for_all() -> None:
    limits = measure_limits(2, QUICK)
    cases = {(limit.runtime, limit.arithmetic, limit.threads) for limit in limits}
    assert len(limits) == len(cases) == 8
    assert cases == {
        (runtime, arithmetic, threads)
        for runtime in ("onnxruntime", "openvino")
        for arithmetic in ARITHMETICS
        for threads in (1, 2)
    }
    assert all(limit.macs_per_s > 0 for limit in limits)
    assert {limit.threads for limit in measure_limits(1, QUICK)} == {1}


def test_limits_that_do_not_fit_into_the_time_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert measure_limits(1, replace(QUICK, most_s=0.0)) == ()
    assert caplog.text.count("not measured (no time)") == 4


def test_a_share_is_the_work_per_second_over_the_best_limit_of_its_arithmetic_and_threads(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    chosen = (
        Candidate("fp32", "onnxruntime"),
        Candidate("int8-cpu", "openvino"),
        Candidate("fp16", "onnxruntime"),
        Candidate("int8", "onnxruntime"),  # in float on such a CPU
    )
    limits = (
        MachineLimit("onnxruntime", "float32", 2, 4e9),
        MachineLimit("openvino", "float32", 2, 5e9),
        MachineLimit("openvino", "float32", 1, 9e9),  # of another number of threads
        MachineLimit("onnxruntime", "int8", 2, 10e9),
    )
    measured = add_limits(bench_of(bundle, *chosen), limits, 10**7)
    assert shares(measured) == {
        "fp32/onnxruntime": pytest.approx(1e7 * 100 / 5e9),
        "int8-cpu/openvino": pytest.approx(1e7 * 100 / 10e9),
        "fp16/onnxruntime": None,
        "int8/onnxruntime": None,
    }
    table = table_of(measured)
    (column,) = (column for column in table.columns if column.header == "of limit")
    assert [*column.cells] == ["20%", "10%", "not measured", "not measured"]
    assert "5 in float32, 10 in int8" in str(table.caption)
    assert from_dict(Bench, to_dict(measured)) == measured


def test_rows_of_a_gpu_have_no_share_of_the_cpus_limit(bundle: Bundle) -> None:
    row = replace(rows_of(bundle, Candidate("fp32", "onnxruntime"))[0], device="cuda")
    measured = replace(bench_of(bundle), candidates=(row,))
    limits = (MachineLimit("onnxruntime", "float32", 2, 4e9),)
    assert shares(add_limits(measured, limits, 10**7)) == {"fp32/onnxruntime": None}


def test_a_manifest_without_multiplications_gives_no_share_but_the_cure(bundle: Bundle) -> None:
    limits = (MachineLimit("onnxruntime", "float32", 2, 4e9),)
    measured = add_limits(bench_of(bundle, Candidate("fp32", "onnxruntime")), limits, None)
    assert shares(measured) == {"fp32/onnxruntime": None}
    assert f"vegrt export {bundle.manifest.name} --data DATA --overwrite" in str(table_of(measured).caption)
    assert "of limit" not in [column.header for column in table_of(measured).columns]


def test_a_benchmark_measures_limits_only_if_asked_and_if_there_is_time(bundle: Bundle) -> None:
    fp32 = [Candidate("fp32", "onnxruntime")]
    light = Conditions(threads=1, memory=False)
    without = bench(bundle, fp32, rounds=1, batch_sizes=(1,), conditions=replace(light, limits=False))
    assert (without.limits, without.macs_per_image) == (None, None)
    assert "limits" not in to_dict(without)
    short = bench(bundle, fp32, rounds=1, batch_sizes=(1,), budget_s=4.0, conditions=light)
    assert short.limits == ()
    assert "--budget-s 20 or more" in str(bench_table(short).caption)
