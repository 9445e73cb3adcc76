"""Kept measurements: they come back on the same machine only, and the forecast follows them."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.result_files import SERVER, Results
from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.infer.machine.doctor import examine, render
from vegrt.infer.machine.forecast import compare_forecast, forecast
from vegrt.infer.machine.gpu import GpuProbe
from vegrt.infer.machine.measured import (
    MachineMeasurements,
    NetworkKind,
    NetworkRate,
    kind_of,
    load_measurements,
    measurements_file,
    save_measurements,
)
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.choice import rank_choices
from vegrt.machine import Cpu, examine_machine
from vegrt.results.benchmark import MachineLimit

ZEN = Cpu("AMD EPYC", ("avx2",))
NO_GPU = GpuProbe((), "", "")
RATES = {
    ("convolutions", "fp32"): {"onnxruntime": 40.0, "openvino": 30.0, "mnn": 20.0},  # the rules say mnn
    ("convolutions", "int8-cpu"): {"onnxruntime": 90.0, "openvino": 60.0},  # the rules say openvino
    ("depthwise", "fp32"): {
        "onnxruntime": 100.0,
        "openvino": 104.0,
    },  # the rules say onnxruntime: a twentieth is no difference
    ("depthwise", "int8-cpu"): {"onnxruntime": 80.0, "openvino": 90.0},
}


@pytest.fixture
def measured() -> MachineMeasurements:
    limits = [MachineLimit("openvino", "float32", 2, 108e9), MachineLimit("openvino", "int8", 2, 440e9)]
    networks = [
        NetworkRate(kind, variant, runtime, rate, 10**8)  # type: ignore[arg-type]
        for (kind, variant), rates in RATES.items()
        for runtime, rate in rates.items()
    ]
    created = "2026-11-29T00:00:00+00:00"
    return MachineMeasurements(created, 2, tuple(limits), tuple(networks), {"mnn": "not installed"})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_measurements_come_back_on_the_same_processor_only(cache: Path, measured: MachineMeasurements) -> None:
    assert load_measurements(ZEN) is None
    file = save_measurements(ZEN, measured)
    assert file.parent == cache / "vegrt"
    assert load_measurements(ZEN) == measured
    assert (
        load_measurements(replace(ZEN, features=("avx2", "avx512_vnni"))) is None
    )  # many processors are called AMD EPYC
    assert load_measurements(replace(ZEN, model="AMD Ryzen")) is None


def shown() -> str:
    text = StringIO()
    Console(file=text, width=200).print(render(examine()))
    return text.getvalue()


@pytest.mark.parametrize("content", ["", "{}", '{"schema": "vegrt-machine"}', "[1]"])
def test_a_damaged_file_counts_as_none(cache: Path, measured: MachineMeasurements, content: str) -> None:
    save_measurements(ZEN, measured).write_text(content)
    assert load_measurements(ZEN) is None


def test_a_cache_that_cannot_be_made_is_one_clear_line(cache: Path, measured: MachineMeasurements) -> None:
    (cache / "vegrt").write_text("a file")
    with pytest.raises(VegrtError, match=r"vegrt: cannot be made \(File exists\); set XDG_CACHE_HOME"):
        save_measurements(ZEN, measured)


@pytest.mark.parametrize(
    ("backbone", "kind"),
    [
        ("vgg16", "convolutions"),
        ("resnet18", "convolutions"),
        ("timm:resnet34d", "convolutions"),
        ("resnet50", "bottlenecks"),
        ("timm:mobilenetv3_large_100", "depthwise"),
        ("efficientnet_b0", "depthwise"),
        ("timm:vit_tiny_patch16_224", None),
        (None, None),
    ],
)
def test_the_kind_of_a_backbone(backbone: str | None, kind: NetworkKind | None) -> None:
    assert kind_of(backbone) == kind


def test_without_measurements_the_rules_are_those_of_zen_3() -> None:
    fastest = {
        kind: forecast(ZEN, NO_GPU, kind=kind)[0].runtime for kind in ("convolutions", "bottlenecks", "depthwise")
    }
    assert fastest == {"convolutions": "mnn", "bottlenecks": "mnn", "depthwise": "onnxruntime"}
    assert forecast(ZEN, NO_GPU)[0].runtime == "onnxruntime"


def test_the_forecast_follows_what_was_measured(measured: MachineMeasurements) -> None:
    fp32, _, _, int8 = forecast(ZEN, NO_GPU, measured=measured, kind="convolutions")
    assert (fp32.runtime, fp32.others) == ("onnxruntime", ("openvino", "mnn"))
    assert (int8.runtime, int8.speed) == ("onnxruntime", "fast")  # 90 against 40
    assert fp32.reason == "measured here, images/s of a small network: onnxruntime 40, openvino 30, mnn 20"
    assert forecast(ZEN, NO_GPU, measured=measured, kind="depthwise")[3].speed == "slow"  # 90 against 104
    unmeasured = forecast(ZEN, NO_GPU, measured=measured, kind="bottlenecks")
    assert unmeasured == forecast(ZEN, NO_GPU, kind="bottlenecks")


def test_a_doubtful_measurement_is_shown_and_not_followed(cache: Path, measured: MachineMeasurements) -> None:
    doubtful = replace(measured, others_share=0.4, busy=True)
    assert forecast(ZEN, NO_GPU, measured=doubtful) == forecast(ZEN, NO_GPU)
    save_measurements(examine_machine().cpu, doubtful)
    assert "other programs used 40% of the cores" in shown()


def test_without_a_kind_the_mean_of_all_kinds_counts_of_runtimes_that_ran_them_all(
    measured: MachineMeasurements,
) -> None:
    assert measured.ranking("fp32", None) == pytest.approx({"onnxruntime": 4000**0.5, "openvino": 3120**0.5})


def test_rules_and_measurement_are_compared(measured: MachineMeasurements) -> None:
    found = [
        (each.kind, each.variant, each.forecast, each.measured, each.agrees) for each in compare_forecast(ZEN, measured)
    ]
    assert found == [
        ("convolutions", "fp32", "mnn", "onnxruntime", False),
        ("convolutions", "int8-cpu", "openvino", "onnxruntime", False),
        ("depthwise", "fp32", "onnxruntime", "openvino", True),
        ("depthwise", "int8-cpu", "openvino", "openvino", True),
    ]


def test_an_unmeasured_candidate_is_ranked_by_the_measurement_of_its_kind(
    two_gpus: Bundle, results: Results, measured: MachineMeasurements
) -> None:
    fast, slow = Candidate("int8-cpu", "onnxruntime"), Candidate("int8-cpu", "openvino")
    results.evaluated({fast: "PASS", slow: "PASS"})
    model = {"backbone": "vgg16", "head": "gap"}
    bundle = replace(two_gpus, manifest=replace(two_gpus.manifest, model=model))

    def first(kept: MachineMeasurements | None) -> Candidate:
        return rank_choices(bundle, device="cpu", host=replace(SERVER, measured=kept))[0].candidate

    assert (first(None), first(measured)) == (slow, fast)


def test_doctor_shows_what_was_kept(cache: Path, measured: MachineMeasurements) -> None:
    assert "vegrt doctor --measure" in shown()
    save_measurements(examine_machine().cpu, measured)
    lines = shown()
    assert "108 in float32, 440 in int8 GMAC/s" in lines
    assert "fp32: onnxruntime 40, openvino 30, mnn 20 images/s" in lines
    assert "the forecast without it: mnn" in lines
    assert "as forecast" in lines
    assert "vegrt doctor --measure" not in lines
    assert examine().to_dict()["measured"]["threads"] == 2
    assert measurements_file(examine_machine().cpu).is_file()
