"""Models of others become bundles: from the command line, with the files of classes and contract."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from torch import nn

from tests.command_line import answer, call, failure
from tests.export.imported.classifiers import (
    CLASSES,
    CONTRACT,
    TOML,
    export_by_torch,
    original_answer,
    random_images,
    softmax,
    tensorflow_like,
)
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.entries import MANIFEST
from vegrt.errors import VegrtError
from vegrt.export.imported.class_list import read_classes
from vegrt.export.imported.source import import_onnx, read_contract
from vegrt.infer.runtimes.onnx_file import read_metadata
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.photo.contract import Contract

WIDE = """
size = [36, 48]
fit = "stretch"
interpolation = "bilinear"
antialias = false
mean = [123.68, 116.779, 103.939]
std = [1.0, 1.0, 1.0]
pixel_range = 255
network_color = "BGR"
"""


def tiny(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return nn.Sequential(*layers, nn.Softmax(1)).eval()


def test_an_imported_model_passes_through_all_commands(photos: Path, folder: Path) -> None:
    """A fixed batch, a Softmax at the end, opset 13, BGR, not square: exported, verified, evaluated, reported, exported again."""
    file, out = folder / "model.onnx", folder / "ours"
    export_by_torch(tiny(seed=2), file, image=(3, 36, 48), dynamo=False, opset_version=13)
    (folder / "contract.toml").write_text(WIDE)
    words = ["export", out, "--data", photos, "--no-engine", "--from-onnx", file]
    words += ["--untrained", "--classes", folder / "classes.txt", "--contract", folder / "contract.toml"]
    shown, imported = answer(*words, "--no-racing"), open_bundle(out)
    fp32, *_ = shown["artifacts"]
    stages = {"photos", "reference", "fp32.onnx", "observation", "ranges", "tournament", "variants", "other"}
    assert stages <= shown["seconds"].keys()
    assert sum(shown["seconds"].values()) == pytest.approx(2 * shown["seconds"]["total"])
    assert "--no-racing" in imported.manifest.calibration["commands"][0]["options"]
    assert (fp32["reference"], fp32["parity"]["top1_agreement"], fp32["untrained"]) == ("source.onnx", 1.0, True)
    assert imported.variants() == ("fp32", "fp16", "int8", "int8-cpu")
    assert imported.file("source").read_bytes() == file.read_bytes()
    assert not (out / "weights.safetensors").exists()
    images = random_images(3)[:, :36]
    logits = open_onnxruntime(imported.file("model", "fp32")).logits(images)
    caffe = replace(CONTRACT, mean=(103.939 / 255, 116.779 / 255, 123.68 / 255), std=(1 / 255,) * 3)
    np.testing.assert_allclose(softmax(logits), original_answer(file, images[..., ::-1], contract=caffe), atol=1e-5)
    assert json.loads((out / MANIFEST).read_text())["format_version"] == 2
    assert read_metadata(out / "int8.onnx")["vegrt.bundle_format"] == "2"
    assert call("verify", out).exit_code == 0
    evaluated = call("evaluate", out, "--data", photos, "--runtime", "onnxruntime", "--margin", "30")
    assert evaluated.exit_code in (0, 3, 4), evaluated.output
    refused = failure("evaluate", out, "--data", photos, "--runtime", "torch")
    assert "no checkpoint for torch, the bundle was made from an ONNX file" in refused
    (out / "results/evaluate-test-only-onnxruntime.json").rename(out / "results/evaluate-test.json")
    assert call("report", out, "-o", folder / "report.html").exit_code == 0
    assert "--from-onnx model.onnx" in (folder / "report.html").read_text()
    before = imported.manifest
    assert import_onnx(out, file, folder / "classes.txt", folder / "contract.toml").manifest == before
    (folder / "contract.toml").write_text(WIDE.replace("bilinear", "area"))
    assert "holds another model, output, classes or contract" in failure(*words)


def test_a_fixed_batch_that_cannot_be_made_dynamic_is_refused_in_one_line(folder: Path) -> None:
    """Its last Reshape keeps three numbers, whatever the batch."""
    three = helper.make_node("Constant", [], ["three"], value_ints=[3])
    first = helper.make_node("Constant", [], ["first"], value_ints=[0])
    tail = [
        three,
        first,
        helper.make_node("Reshape", ["images", "three"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "first"], ["scores"]),
    ]
    tensorflow_like(folder / "model.onnx", tail=tail, batch=1)
    with pytest.raises(VegrtError, match="batch size is fixed: export it with a dynamic batch"):
        import_onnx(folder / "out", folder / "model.onnx", folder / "classes.txt", folder / "contract.toml")
    assert not (folder / "out").exists()


def test_unsuitable_files_are_refused_in_one_line_and_nothing_is_written(folder: Path, photos: Path) -> None:
    tensorflow_like(folder / "model.onnx")
    words = ["--data", photos, "--classes", folder / "classes.txt", "--contract", folder / "contract.toml"]

    def refusal(model: Path) -> str:
        message = failure("export", folder / "out", *words, "--from-onnx", model)
        assert not (folder / "out").exists()
        return message

    assert "none.onnx: no such file; expected an ONNX model" in refusal(folder / "none.onnx")
    assert "not a readable ONNX model" in refusal(photos / "test/Beet/000.jpg")
    (folder / "classes.txt").write_text("a\nb\n")
    assert "gives 3 scores per image, --classes lists 2" in refusal(folder / "model.onnx")
    assert call("export", folder / "out", *words).exit_code == 2  # --classes without --from-onnx
    with pytest.raises(VegrtError, match="duplicate class b"):
        read_classes(write(folder / "twice.txt", "b\na\nb\n"))
    with pytest.raises(VegrtError, match=r"1 class name\(s\); expected at least 2"):
        read_classes(write(folder / "one.txt", "b\n"))


def write(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TOML + "colour = 'BGR'\n", r"unknown key\(s\) colour; expected some of size, resize, mean, std"),
        ("size = 48\nresize = 48\n", "mean, std missing; expected size, resize, mean, std"),
        (TOML.replace("size = 48\n", "size = 48.5\n", 1), r"size is 48\.5; expected pixels"),
        (TOML.replace("0.4, ", ""), r"mean is \[0\.5, 0\.3\]; expected three numbers"),
        (TOML.replace("0.25", "-1"), "3 positive stds"),
        ("size = ", "not a TOML contract"),
        (f"{TOML}fit = 'pad'\n", "fit is 'pad'; expected one of 'crop', 'stretch', 'letterbox'"),
        (f"{TOML}antialias = 0\n", "antialias is 0; expected true or false"),
        (f"{TOML}fill = [0.5, 0, 0]\n", "fill is .*; expected red, green and blue"),
        (
            f"{TOML}network_color = 'L'\n",
            r"mean is .*; expected one number for grey pixels in \[0, 1\], such as \[0.485\]",
        ),
        (f"{TOML}pixel_range = 256\n", "pixel_range is 256; expected 1 or 255"),
        (TOML.replace("resize = 48\n", ""), "resize missing; expected size, resize, mean, std"),
        (TOML.replace("48", "[48]"), r"size is \[48\]; expected pixels, up to 8192, such as 224, or height and width"),
        (f"{TOML}\nicc = 'p3'\n", "icc is 'p3'; expected the treatment of colour profiles, 'srgb'"),
        (
            "size = 48\nresize = 48\nmean = [123.675, 116.28, 103.53]\nstd = [58.395, 57.12, 57.375]\n",
            r"are for pixels in 0\.\.255; .*: mean = \[0\.485, 0\.456, 0\.406\], std = \[0\.229, 0\.224, 0\.225\]",
        ),
    ],
)
def test_an_invalid_contract_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(VegrtError, match=message):
        read_contract(write(tmp_path / "contract.toml", text))


def test_a_contract_of_the_second_edition_is_read(tmp_path: Path) -> None:
    wide = read_contract(write(tmp_path / "contract.toml", WIDE))
    assert (wide.height, wide.width, wide.fit, wide.network_color) == (36, 48, "stretch", "BGR")
    np.testing.assert_allclose(np.multiply(wide.mean, 255), (123.68, 116.779, 103.939))
    np.testing.assert_allclose(np.multiply(wide.std, 255), 1)
    grey = "size = 28\nfit = 'letterbox'\nfill = [255, 255, 255]\nmean = [0.5]\nstd = [0.5]\nnetwork_color = 'L'\n"
    expected = Contract(28, 28, (0.5,), (0.5,), fit="letterbox", fill=(255, 255, 255), network_color="L")
    assert read_contract(write(tmp_path / "grey.toml", grey)) == expected


def test_a_contract_is_read_unchanged(folder: Path) -> None:
    assert read_contract(folder / "contract.toml") == CONTRACT
    (folder / "contract.toml").write_text(f"{TOML}\nicc = 'ignore'\n")
    assert read_contract(folder / "contract.toml") == replace(CONTRACT, icc="ignore")
    assert read_classes(folder / "classes.txt") == CLASSES


def test_a_checkpoints_bundle_is_not_replaced(trained: Bundle, folder: Path) -> None:
    tensorflow_like(folder / "model.onnx")
    shutil.copytree(trained.path, folder / "out")
    with pytest.raises(VegrtError, match="holds another model"):
        import_onnx(folder / "out", folder / "model.onnx", folder / "classes.txt", folder / "contract.toml")
    assert open_bundle(folder / "out").manifest == trained.manifest
