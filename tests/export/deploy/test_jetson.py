"""The folder for a Jetson: its program is run here, on the CPU, from the folder alone."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.command_line import call
from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.export.deploy.jetson import JETPACKS, deploy_jetson
from vegrt.infer.machine.gpu import probe_gpus
from vegrt.photo.preprocess import load_image


@pytest.fixture(scope="module")
def folder(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("jetson") / "out"
    result = call("deploy", "jetson", bundle.path, out, "--max-batch", "16")
    assert result.exit_code == 0, result.output
    return out


def run(folder: Path, *words: object, libraries: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, words)]
    environment = {"PATH": "/usr/bin", "LD_LIBRARY_PATH": libraries}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_the_program_takes_vegrt_from_its_own_folder(folder: Path) -> None:
    program = (
        "import classify, sys; print(*(each.__file__ for name, each in sys.modules.items() if name[:5] == 'vegrt'))"
    )
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
    predicted = call("infer", *images, "--bundle", bundle.path, "--variant", "fp16", "--json")
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


def test_every_file_is_python_3_10(folder: Path) -> None:
    """JetPack 6 has no other Python."""
    files = list(folder.rglob("*.py"))
    assert len(files) > 10
    for file in files:
        ast.parse(file.read_text(encoding="utf-8"), str(file), feature_version=(3, 10))


def test_the_folder_prepares_pixels_as_we_do(folder: Path, photos: Path, bundle: Bundle) -> None:
    program = (
        "import hashlib, json, sys; from pathlib import Path; "
        "from vegrt.photo.contract import Contract; from vegrt.photo.preprocess import load_image; "
        "contract = Contract.from_dict(json.load(open('model.json'))['contract']); "
        "print(*(hashlib.sha256(load_image(Path(name), contract).tobytes()).hexdigest() for name in sys.argv[1:]))"
    )
    images = sorted((photos / "test").glob("*/00*.jpg"))
    hashes = run(folder, "-c", program, *images).stdout.split()
    assert len(hashes) == len(images) == 30
    ours = [load_image(image, bundle.manifest.contract) for image in images]
    assert hashes == [hashlib.sha256(pixels.tobytes()).hexdigest() for pixels in ours]


def test_the_arguments_are_parsed_before_anything_is_loaded(folder: Path) -> None:
    explained, refused = run(folder, "classify.py", "--help"), run(folder, "classify.py")
    assert (explained.returncode, refused.returncode) == (0, 2)
    assert "--check" in explained.stdout
    assert "the following arguments are required: model" in refused.stderr


@pytest.fixture
def cudart_folder() -> str:
    """The folder of a real libcudart, which the packages of torch contain."""
    places = [
        Path(str(file.locate_file("")))
        for file in metadata.distributions()
        if file.metadata["Name"] == "nvidia-cuda-runtime"
    ]
    files = [file for place in places for file in (place / "nvidia").rglob("libcudart.so.1?")]
    if not files:
        pytest.skip("no libcudart here: pip install nvidia-cuda-runtime")
    return str(files[0].parent)


@pytest.mark.skipif(bool(probe_gpus().gpus), reason="a GPU answers")
def test_an_engine_needs_the_cuda_of_jetpack_and_a_gpu(folder: Path, tmp_path: Path, cudart_folder: str) -> None:
    """TensorRT is not even looked for: without CUDA its Runtime would crash the process."""
    (tmp_path / "int8.engine").write_bytes(b"no engine")
    program = "from vegrt.infer.runtimes.cuda import cudart_ctypes; print(cudart_ctypes.is_present())"
    lacking, no_gpu = (
        "libcudart is not here, it is part of JetPack: sudo apt-get install nvidia-jetpack",
        "CUDA finds no GPU",
    )
    for libraries in ("", cudart_folder):
        present = run(folder, "-c", program, libraries=libraries).stdout.strip() == "True"
        failed = run(folder, "classify.py", tmp_path / "int8.engine", "--check", libraries=libraries)
        assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1), failed.stderr
        assert (f"{no_gpu} (cudaErrorInsufficientDriver)" if present else lacking) in failed.stderr
        assert failed.stderr.endswith("; an .onnx file runs without, on the CPU\n")
    assert present


def test_the_readme_and_requirements_match_the_folder(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert "We have not run this on a Jetson" in text
    assert "JetPack 6.1 or 6.2" in text
    builds = re.findall(r"trtexec --onnx=(\S+) --saveEngine=(\S+) --stronglyTyped", text)
    assert builds == [("int8.onnx", "int8.engine"), ("fp16.onnx", "fp16.engine")]
    shapes = "--minShapes=images:1x48x48x3 --optShapes=images:8x48x48x3 --maxShapes=images:16x48x48x3"
    assert text.count(shapes) == 2
    assert all((folder / name).exists() for name in re.findall(r"`([\w./-]+\.(?:onnx|py|txt))`", text))
    lines = [line.partition("#")[0].strip() for line in (folder / "requirements.txt").read_text().splitlines()]
    assert {Requirement(line).name for line in lines if line} == {"numpy", "pillow", "onnxruntime"}


def test_a_power_mode_is_read_and_never_a_number_of_another_board(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert "sudo nvpmodel -q" in text
    assert re.findall(r"nvpmodel -m (\S+)", text) == ["NUMBER"]


def test_jetpack_7_builds_with_tensorrt_11_and_may_use_the_dla(bundle: Bundle, tmp_path: Path) -> None:
    deploy_jetson(bundle, tmp_path / "out", jetpack=JETPACKS["7"])
    text = (tmp_path / "out/README.md").read_text()
    assert "JetPack 7.2.2 or later (AGX Orin, Thor)" in text
    assert "TensorRT 11.4.1 or later" in text
    assert "--stronglyTyped" not in text  # TensorRT 11 types every network so
    assert "--saveEngine=fp16-dla.engine --useDLACore=0 --allowGPUFallback" in text
    fixed = (
        "--minShapes=images:1x48x48x3 --optShapes=images:1x48x48x3 --maxShapes=images:1x48x48x3"  # all that a DLA takes
    )
    assert text.count(fixed) == 1


def test_jetpack_6_has_no_dla_section(folder: Path) -> None:
    assert "DLA" not in (folder / "README.md").read_text()


def test_a_bundle_without_int8_and_a_full_folder_are_refused(trained: Bundle, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(VegrtError, match="no int8 model"):
        deploy_jetson(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(VegrtError, match="exists and is not an empty folder"):
        deploy_jetson(bundle, tmp_path / "full")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
