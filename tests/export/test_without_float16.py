"""Networks whose results float16 cannot hold: refused with the cure, and exported without float16."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

from tests.command_line import answer, call, failure
from tests.export.imported.classifiers import CLASSES, TOML, export_by_torch
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.export.engines.options import recorded_options

LARGE = 1e6


def uses_float16(file: Path) -> bool:
    graph = onnx.load(file).graph
    casts = {attribute.i for node in graph.node for attribute in node.attribute if attribute.name == "to"}
    return TensorProto.FLOAT16 in casts | {weight.data_type for weight in graph.initializer}


@pytest.fixture(scope="module")
def words(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The command that imports a network with results of about a million."""
    folder = tmp_path_factory.mktemp("large")
    torch.manual_seed(2)
    convolution, linear = nn.Conv2d(3, 8, 3), nn.Linear(8, 3)
    with torch.no_grad():
        for parameter in convolution.parameters():
            parameter.mul_(LARGE)
        linear.weight.div_(LARGE)
    network = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear).eval()
    export_by_torch(network, folder / "model.onnx")
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    (folder / "contract.toml").write_text(TOML)
    files = ["--from-onnx", folder / "model.onnx", "--classes", folder / "classes.txt"]
    files += ["--contract", folder / "contract.toml"]
    return ["export", folder / "ours", "--data", photos, "--untrained", *files]


@pytest.fixture(scope="module")
def exported(words: list[object]) -> Bundle:
    answer(*words, "--no-fp16", "--engine")
    return open_bundle(Path(str(words[1])))


def test_what_float16_cannot_hold_is_refused_with_the_cure(words: list[object], tmp_path: Path) -> None:
    refused = failure(words[0], tmp_path / "ours", *words[2:], "--no-engine")
    assert re.search(r"exceed float16.*; export without .*: --no-fp16", refused)
    assert not (tmp_path / "ours").exists()


def test_without_float16_every_other_variant_is_written(exported: Bundle, photos: Path) -> None:
    assert exported.variants() == ("fp32", "int8", "int8-cpu")
    assert not any(uses_float16(exported.file("model", variant)) for variant in exported.variants())
    plans = [artifact.variant for artifact in exported.manifest.artifacts if artifact.role == "engine"]
    assert plans == ["fp32", "int8"]
    assert call("verify", exported.path).exit_code == 0
    assert call("evaluate", exported.path, "--data", photos, "--margin", "30").exit_code in (0, 3, 4)


def test_a_calibration_keeps_float16_out(exported: Bundle, bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    assert uses_float16(bundle.file("model", "int8"))
    shutil.copytree(exported.path, tmp_path / "ours")
    answer("calibrate", tmp_path / "ours", "--data", photos, "--percentile", "99.9", "--no-engine", "--overwrite")
    again = open_bundle(tmp_path / "ours")
    assert again.variants() == exported.variants()
    assert not recorded_options(again).fp16
    assert not uses_float16(again.file("model", "int8"))


def test_a_jetson_gets_fp32_instead(exported: Bundle, tmp_path: Path) -> None:
    for release in ("6", "7"):
        result = call("deploy", "jetson", exported.path, tmp_path / release, "--jetpack", release)
        assert result.exit_code == 0, result.output
        text = (tmp_path / release / "README.md").read_text()
        assert "fp16" not in text.replace("`--fp16`", "")
        assert {path.name for path in (tmp_path / release).glob("*.onnx")} == {"fp32.onnx", "int8.onnx"}
        assert "--saveEngine=fp32.engine" in text
