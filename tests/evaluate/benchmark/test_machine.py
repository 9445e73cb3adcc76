"""The small networks in every real runtime, and the measurement of this machine with little effort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from vegrt.calibration.graph.work import multiplications
from vegrt.errors import MissingExtraError, ModelError
from vegrt.evaluate.benchmark import machine
from vegrt.evaluate.benchmark.limits import Effort
from vegrt.evaluate.benchmark.machine import MachineEffort, measure_machine
from vegrt.evaluate.benchmark.networks import small_network
from vegrt.evaluate.benchmark.products import Product
from vegrt.infer.machine.measured import NETWORK_KINDS, NetworkKind
from vegrt.infer.runtimes.mnn import open_mnn
from vegrt.infer.runtimes.mnn_converter import convert_to_mnn
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.openvino.runner import open_openvino
from vegrt.infer.runtimes.runner import Runner

QUICK = MachineEffort(Effort(Product(8, 96, 32), runs=1, least_s=0.0), kinds=("depthwise",), rounds=1)


@pytest.mark.parametrize("kind", NETWORK_KINDS)
def test_all_runtimes_agree_on_a_small_network(kind: NetworkKind, tmp_path: Path) -> None:
    float32, int8 = small_network(kind, "fp32"), small_network(kind, "int8-cpu")
    images = np.random.default_rng(5).integers(0, 256, (2, float32.size, float32.size, 3), np.uint8)
    reference = open_onnxruntime(float32.model).logits(images)
    assert np.isfinite(reference).all()
    assert reference.std() > 0.01
    others: list[Runner] = [
        open_openvino(float32.model, precision="f32"),
        open_mnn(convert_to_mnn(float32.model, tmp_path)),
    ]
    for other in others:
        assert np.allclose(other.logits(images), reference, atol=1e-2 * np.abs(reference).max())
    exact = open_onnxruntime(int8.model).logits(images)
    quick = open_openvino(int8.model).logits(images)
    assert np.corrcoef(exact.ravel(), quick.ravel())[0, 1] > 0.999
    assert np.corrcoef(exact.ravel(), reference.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("kind", NETWORK_KINDS)
def test_its_multiplications_are_those_of_the_graph(kind: NetworkKind) -> None:
    import onnx_ir as ir

    network = small_network(kind, "fp32")
    proto = onnx.load_model_from_string(network.model)
    onnx.checker.check_model(proto, full_check=True)
    onnx.checker.check_model(onnx.load_model_from_string(small_network(kind, "int8-cpu").model), full_check=True)
    assert sum(count for _, count in multiplications(ir.from_proto(proto))) == network.macs
    assert small_network(kind, "fp32") == network


def test_a_machine_is_measured_in_every_runtime() -> None:
    measured = measure_machine(1, QUICK)
    assert measured.absent == {}
    assert {(row.runtime, row.variant) for row in measured.networks} == {
        *((runtime, variant) for runtime in ("onnxruntime", "openvino") for variant in ("fp32", "int8-cpu")),
        ("mnn", "fp32"),
    }
    assert {row.macs_per_image for row in measured.networks} == {small_network("depthwise", "fp32").macs}
    assert measured.threads == 1
    assert len(measured.limits) == 4


def test_a_runtime_that_fails_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Path:
        raise ModelError("fp32.mnn: MNN cannot convert fp32.onnx (no converter)")

    monkeypatch.setattr(machine, "convert_to_mnn", fail)
    measured = measure_machine(1, QUICK)
    assert "mnn" not in {row.runtime for row in measured.networks}
    assert measured.absent == {"mnn": "depthwise in fp32: fp32.mnn: MNN cannot convert fp32.onnx (no converter)"}


def test_without_a_runtime_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "is_installed", lambda _: False)
    with pytest.raises(MissingExtraError, match=r"pip install 'vegrt\[cpu\]'"):
        measure_machine(1, QUICK)
