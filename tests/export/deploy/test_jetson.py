"""The folder for a Jetson: its program is run here, on the CPU, from the folder alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from vegrt.bundle.bundle import Bundle
from vegrt.cli import app
from vegrt.errors import VegrtError
from vegrt.export.deploy.jetson import deploy_jetson


@pytest.fixture(scope="module")
def folder(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("jetson") / "out"
    result = CliRunner().invoke(app, ["deploy", "jetson", str(bundle.path), str(out), "--max-batch", "16"])
    assert result.exit_code == 0, result.output
    return out


def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PATH": "/usr/bin"})


def test_the_program_takes_vegrt_from_its_own_folder(folder: Path) -> None:
    program = "import classify, sys; print(*(one.__file__ for name, one in sys.modules.items() if name[:5] == 'vegrt'))"
    files = run(folder, "-c", program).stdout.split()
    assert len(files) > 5
    assert all(Path(file).is_relative_to(folder / "vegrt") for file in files)


@pytest.mark.parametrize("variant", ["int8", "fp16"])
def test_the_program_runs_from_the_folder_alone(folder: Path, variant: str) -> None:
    checked = run(folder, "classify.py", f"{variant}.onnx", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("ok   golden/") == 4


def test_the_program_classifies_images(folder: Path, photos: Path, bundle: Bundle) -> None:
    images = sorted((photos / "test").glob("*/000.jpg"))
    answered = run(folder, "classify.py", "fp16.onnx", *images)
    lines = [line.split("\t") for line in answered.stdout.splitlines()]
    predicted = CliRunner().invoke(
        app, ["infer", *map(str, images), "--bundle", str(bundle.path), "--variant", "fp16", "--json"]
    )
    wanted = {row["path"]: row["label"] for row in json.loads(predicted.stdout)["predictions"]}
    assert [name for _, name, _ in lines] == [wanted[str(image)] for image in images]
    assert all(0.3 < float(probability) <= 1 for _, _, probability in lines)


def test_a_golden_photo_that_changed_fails_the_check(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    golden = json.loads((copied / "golden/golden.json").read_text())
    golden["images"][0]["pixels_sha256"] = "0" * 64
    golden["images"][1]["logits"] = [-value for value in golden["images"][1]["logits"]]
    (copied / "golden/golden.json").write_text(json.dumps(golden))
    checked = run(copied, "classify.py", "int8.onnx", "--check")
    assert (checked.returncode, checked.stdout.count("FAIL")) == (1, 2)


def test_an_error_is_one_line(folder: Path, photos: Path) -> None:
    for words, message in (
        (["none.engine", "--check"], "no such file; README.md shows how to build engines with trtexec"),
        (["fp16.onnx", folder / "README.md"], "not a photo"),
    ):
        failed = run(folder, "classify.py", *words)
        assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1), failed.stderr
        assert message in failed.stderr


def test_the_readme_and_requirements_match_the_folder(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert "We have not run this on a Jetson" in text
    builds = re.findall(r"trtexec --onnx=(\S+) --saveEngine=(\S+) --stronglyTyped", text)
    assert builds == [("int8.onnx", "int8.engine"), ("fp16.onnx", "fp16.engine")]
    shapes = "--minShapes=images:1x48x48x3 --optShapes=images:8x48x48x3 --maxShapes=images:16x48x48x3"
    assert text.count(shapes) == 2
    assert all((folder / name).exists() for name in re.findall(r"`([\w./-]+\.(?:onnx|py|txt|json))`", text))
    lines = [line.partition("#")[0].strip() for line in (folder / "requirements.txt").read_text().splitlines()]
    assert {Requirement(line).name for line in lines if line} == {"numpy", "pillow", "cuda-bindings", "onnxruntime"}


def test_a_bundle_without_int8_and_a_full_folder_are_refused(trained: Bundle, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(VegrtError, match="no int8 model"):
        deploy_jetson(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(VegrtError, match="exists and is not an empty folder"):
        deploy_jetson(bundle, tmp_path / "full")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
