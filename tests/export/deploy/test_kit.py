"""The device kit: its program is run from the folder alone, and its answers are judged by `vegrt evaluate --answers`."""

from __future__ import annotations

import ast
import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.command_line import answer, call, failure
from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import content_hash
from vegrt.errors import DataError, ModelError
from vegrt.evaluate.golden import load_golden
from vegrt.export.deploy.kit.inputs import FORMS, NORMALIZED_NCHW, NORMALIZED_NHWC, PIXELS_NCHW, model_input
from vegrt.export.deploy.kit.models import check_float_model, float_model
from vegrt.export.deploy.kit.write import KitSettings, deploy_kit, resolved
from vegrt.photo.contract import LUMA, Contract
from vegrt.photo.preprocess import load_image

# Pairs of a model and a runtime, whose answers are those of fp32
ROUND_TRIPS = (
    ("fp32.onnx", "onnxruntime", "csv"),
    ("fp32-normalized.onnx", "openvino", "npz"),
    ("fp32.mnn", "mnn", "csv"),
)


@pytest.fixture(scope="module")
def written(bundle: Bundle, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command printed for a kit of 20 calibration and 60 test photos, all of the split."""
    out = tmp_path_factory.mktemp("kit") / "out"
    words = ("--data", photos, "--calibration-photos", 20, "--test-as", "both")
    shown: dict[str, Any] = answer("deploy", "kit", bundle.path, out, *words)
    return shown


@pytest.fixture(scope="module")
def kit(written: dict[str, Any]) -> Path:
    return Path(written["folder"])


@pytest.fixture
def own_kit(kit: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(kit, tmp_path / "kit")
    return tmp_path / "kit"


def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "classify.py", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PATH": "/usr/bin"})


def judge(copied: Bundle, data: Path, file: Path, *words: object, exit_code: int = 0) -> Any:
    """Return the device's row in the result of `vegrt evaluate --answers`."""
    options = ("--data", data, "--answers", file, "--device-name", "device", *words)
    result = answer("evaluate", copied.path, *options, exit_code=exit_code)
    return next(row for row in result["candidates"] if row["key"] == "device")


@pytest.mark.parametrize(("model", "runtime", "suffix"), ROUND_TRIPS)
def test_the_answers_of_each_runtime_pass_the_gate(
    kit: Path, copied: Bundle, photos: Path, tmp_path: Path, model: str, runtime: str, suffix: str
) -> None:
    done = run(kit, f"models/{model}", "--runtime", runtime, "--answers", tmp_path / f"answers.{suffix}")
    assert done.returncode == 0, done.stderr
    assert "60 answers, 0 unreadable photos" in done.stdout
    row = judge(copied, photos, tmp_path / f"answers.{suffix}", "--margin", "auto")
    assert (row["gate"]["verdict"], row["paired"]["flips"]) == ("PASS", 0)
    assert row["answers"]["kind"] == "logits"
    assert row["answers"]["speed"]["photos"] == 60


@pytest.mark.parametrize("model", ["fp32-pixels.onnx", "int8.onnx", "int8-cpu.onnx"])
def test_the_other_models_answer_the_golden_photos(kit: Path, model: str) -> None:
    checked = run(kit, f"models/{model}", "--runtime", "onnxruntime", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("ok   golden/") == 4


def test_a_part_of_the_test_photos_is_judged_by_its_own_listing(
    bundle: Bundle, copied: Bundle, photos: Path, tmp_path: Path
) -> None:
    settings = KitSettings(calibration_photos=1, test_photos=31, test_as="arrays")
    written = deploy_kit(bundle, tmp_path / "kit", photos, settings)
    assert (written.test_photos, (tmp_path / "kit/test/photos").exists()) == (30, False)
    assert written.evaluate.startswith(f"vegrt evaluate {bundle.path} --data {tmp_path / 'kit/judge.csv'} --name kit ")
    done = run(tmp_path / "kit", "models/fp32.onnx", "--runtime", "onnxruntime", "--answers", tmp_path / "a.csv")
    assert "30 answers, 0 unreadable photos" in done.stdout, done.stderr
    row = judge(copied, tmp_path / "kit/judge.csv", tmp_path / "a.csv", "--name", "kit", "--margin", "auto")
    assert row["paired"]["flips"] == 0


def test_photos_that_are_not_the_bundles_own_are_evaluated_under_a_name(
    copied: Bundle, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos / "validation", tmp_path / "phone/validation")
    shutil.copytree(photos / "train", tmp_path / "phone/test")
    settings = KitSettings(calibration_photos=1)
    own = deploy_kit(copied, tmp_path / "own", photos, settings)
    other = deploy_kit(copied, tmp_path / "other", tmp_path / "phone", settings)
    assert ("--name" in own.evaluate, f"{tmp_path / 'phone'} --name kit " in other.evaluate) == (False, True)
    assert "--data DATA --name kit " in (tmp_path / "other/README.md").read_text()


def test_own_photos_that_the_arrays_leave_out_make_a_listing_of_the_others(
    copied: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shutil.copytree(photos, tmp_path / "data")
    next((data / "test").glob("*/*.jpg")).write_bytes(b"no image")
    monkeypatch.setattr("vegrt.export.deploy.kit.write.needs_name", lambda bundle, split: False)  # they are its own
    written = deploy_kit(copied, tmp_path / "kit", data, KitSettings(calibration_photos=1, test_as="arrays"))
    assert written.test_photos == 59
    assert f"--data {tmp_path / 'kit/judge.csv'} --name kit " in written.evaluate


def test_a_device_that_swaps_the_colours_fails_the_check_and_is_found_out(
    own_kit: Path, copied: Bundle, photos: Path
) -> None:
    slot = own_kit / "runtimes/onnxruntime.py"
    text = slot.read_text()
    assert '{"images": inputs}' in text
    slot.write_text(text.replace('{"images": inputs}', '{"images": inputs[..., ::-1].copy()}'))
    checked = run(own_kit, "models/fp32.onnx", "--runtime", "onnxruntime", "--check")
    assert (checked.returncode, "FAIL golden/" in checked.stdout) == (1, True)
    assert run(own_kit, "models/fp32.onnx", "--runtime", "onnxruntime", "--answers", "bgr.csv").returncode == 0
    row = judge(copied, photos, own_kit / "bgr.csv", exit_code=3)
    causes = {cause["kind"]: cause for cause in row["gate"]["causes"]}
    assert causes["pixels-differ"]["faults"] == ["swapped-colours"], causes


def test_calibration_photos_are_prepared_in_every_format(kit: Path, bundle: Bundle) -> None:
    folder, contract = kit / "calibration", bundle.manifest.contract
    pixels = np.load(folder / "images-uint8-nhwc.npy")
    floats = np.load(folder / "images-float32-nchw.npy")
    assert (pixels.shape, pixels.dtype) == ((20, 48, 48, 3), np.uint8)
    assert (floats.shape, floats.dtype) == ((20, 3, 48, 48), np.float32)
    expected = (pixels / 255 - np.array(contract.mean)) / np.array(contract.std)
    np.testing.assert_allclose(floats, expected.transpose(0, 3, 1, 2), atol=1e-5)
    for line, image in zip((folder / "dataset.txt").read_text().splitlines(), pixels, strict=True):
        assert np.array_equal(np.asarray(Image.open(folder / line)), image)
    for name, images in (("nhwc", floats.transpose(0, 2, 3, 1)), ("nchw", floats)):
        lines = (folder / f"input_list_{name}.txt").read_text().splitlines()
        read = [np.fromfile(folder / line, np.float32).reshape(images.shape[1:]) for line in lines]
        assert np.array_equal(np.stack(read), images)


def test_no_calibration_photo_is_a_test_photo_and_the_test_photos_are_the_split(kit: Path, photos: Path) -> None:
    with (kit / "test/photos.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert {row["photo"]: row["sha256"] for row in rows} == {
        file.relative_to(photos / "test").as_posix(): content_hash(file) for file in (photos / "test").glob("*/*.jpg")
    }
    assert all(content_hash(kit / row["file"]) == row["sha256"] for row in rows)
    tested = {image.tobytes() for image in np.load(kit / "test/images-uint8-nhwc.npy")}
    calibrated = {image.tobytes() for image in np.load(kit / "calibration/images-uint8-nhwc.npy")}
    assert (len(tested), len(calibrated), tested & calibrated) == (60, 20, set())


CONTRACTS = (
    Contract(size=40, resize=48),
    Contract(size=(40, 56), fit="stretch", interpolation="bicubic", antialias=False),
    Contract(size=48, fit="letterbox", fill=(9, 99, 199), interpolation="area", network_color="BGR"),
    Contract(size=32, interpolation="nearest", rounding="torchvision", mean=(0.5,), std=(0.25,), network_color="L"),
)


@pytest.mark.parametrize("contract", CONTRACTS, ids=["crop", "stretch", "letterbox", "grey"])
def test_the_program_prepares_photos_by_every_kind_of_contract(own_kit: Path, photos: Path, contract: Contract) -> None:
    """A model that is the identity shows what the program gives it."""
    facts = json.loads((own_kit / "kit.json").read_text())
    facts["contract"] = resolved(contract)
    facts["classes"] = ["x"] * (contract.channels * contract.height * contract.width)
    (own_kit / "kit.json").write_text(json.dumps(facts))
    lines = (own_kit / "test/photos.csv").read_text().splitlines()
    (own_kit / "test/photos.csv").write_text("\n".join(lines[:3]))
    (own_kit / "same.py").write_text("def open_model(file):\n    return lambda inputs: inputs\n")
    words = ("--runtime", "same.py", "--input", NORMALIZED_NHWC, "--answers", "a.npz")
    done = run(own_kit, "same.py", *words)
    assert done.returncode == 0, done.stderr
    answers = np.load(own_kit / "a.npz")
    assert len(answers["photo"]) == 2
    for name, got in zip(answers["photo"], answers["logits"], strict=True):
        image = load_image(photos / "test" / str(name), contract)
        np.testing.assert_array_equal(got, model_input(image[None], NORMALIZED_NHWC, contract).reshape(-1))


Step = tuple[str, list[str], dict[str, Any]]  # operator, further inputs, attributes


def graph(contract: Contract) -> bytes:
    """Return a graph that begins as those of vegrt do; its logits are the means of 4 parts of the first channel."""
    mean, std = np.array(contract.mean), np.array(contract.std)
    color = contract.network_color
    scale = np.broadcast_to((np.array(LUMA) if color == "L" else 1) / (255 * std), 3)
    shift = (-mean / std)[::-1] if color == "BGR" else -mean / std
    colours: dict[str, list[Step]] = {
        "RGB": [],
        "BGR": [("Gather", ["order"], {"axis": 1})],
        "L": [("ReduceSum", ["axis"], {})],
    }
    steps: list[Step] = [
        ("Cast", [], {"to": 1}),
        ("Transpose", [], {"perm": [0, 3, 1, 2]}),
    ]
    constants = {
        "scale": scale.astype(np.float32).reshape(1, 3, 1, 1),
        "shift": shift.astype(np.float32).reshape(1, -1, 1, 1),
        "order": np.array([2, 1, 0]),
        "axis": np.array([1]),
    }
    steps += [] if np.allclose(scale, 1) else [("Mul", ["scale"], {})]
    steps += colours[color]
    steps += [] if np.allclose(shift, 0) else [("Add", ["shift"], {})]
    steps += [("AveragePool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}), ("Flatten", [], {})]
    names = ["images", *(f"v{index}" for index in range(len(steps) - 1)), "logits"]
    nodes = [
        helper.make_node(operator, [names[index], *others], [names[index + 1]], name=f"n{index}", **attributes)
        for index, (operator, others, attributes) in enumerate(steps)
    ]
    read = {name for _, others, _ in steps for name in others}
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 4, 4, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4 * contract.channels])
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items() if name in read]
    model = helper.make_graph(nodes, "g", [images], [logits], tensors)
    content: bytes = helper.make_model(
        model, opset_imports=[helper.make_opsetid("", 19)], ir_version=10
    ).SerializeToString()
    return content


FRONTS = {
    "RGB": Contract(size=4),
    "pixels from 0 to 255": Contract(size=4, mean=(0, 0, 0), std=(1 / 255, 1 / 255, 1 / 255)),
    "no shift": Contract(size=4, mean=(0, 0, 0), std=(1, 1, 1)),
    "BGR": Contract(size=4, network_color="BGR"),
    "grey": Contract(size=4, mean=(0.5,), std=(0.25,), network_color="L"),
}


@pytest.mark.parametrize("contract", FRONTS.values(), ids=FRONTS)
@pytest.mark.parametrize("form", [PIXELS_NCHW, NORMALIZED_NCHW])
def test_the_contract_is_cut_from_the_graph(contract: Contract, form: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype(np.uint8)
    if contract.network_color == "L":
        image = np.repeat(image[..., :1], 3, axis=-1)
    source = graph(contract)
    expected = ort.InferenceSession(source).run(["logits"], {"images": image})[0]
    session = ort.InferenceSession(float_model(source, form, contract))
    assert session.get_inputs()[0].shape == [1, 3 if form == PIXELS_NCHW else contract.channels, 4, 4]
    got = session.run(["logits"], {"images": model_input(image, form, contract)})[0]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_a_float_model_that_answers_differently_is_refused(bundle: Bundle) -> None:
    golden, contract = load_golden(bundle), bundle.manifest.contract
    model = float_model(bundle.file("model", "fp32").read_bytes(), PIXELS_NCHW, contract)
    with pytest.raises(ModelError, match=r"the logits of golden photos differ by \d+.*% of the largest logit"):
        check_float_model("fp32-pixels.onnx", model, NORMALIZED_NCHW, contract, golden)


def test_a_bgr_or_grey_network_gets_its_own_channels() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 1.0)
    colour = Contract(size=2, mean=mean, std=std, network_color="BGR")
    expected = ((image / 255 - np.array(mean)) / np.array(std))[..., ::-1]
    np.testing.assert_allclose(model_input(image, NORMALIZED_NHWC, colour), expected, atol=1e-6)
    grey = Contract(size=2, mean=(0.1,), std=(0.5,), network_color="L")
    got = model_input(np.repeat(image[..., :1], 3, axis=-1), NORMALIZED_NCHW, grey)
    np.testing.assert_allclose(got[:, 0], (image[..., 0] / 255 - 0.1) / 0.5, atol=1e-6)


def test_the_program_is_python_3_8(kit: Path) -> None:
    """Syntax, and what is evaluated when the file is loaded: newer functions and arguments of the standard library."""
    files = sorted(kit.rglob("*.py"))
    assert len(files) > 12
    newer: list[str] = []
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file), feature_version=(3, 8))
        newer += [f"{file.name}:{node.lineno}: {name}" for node, name in newer_than_3_8(tree)]
    assert newer == []


def newer_than_3_8(tree: ast.Module) -> list[tuple[Any, str]]:
    """Return expressions that Python 3.8 refuses when it runs them."""
    hits: list[tuple[Any, str]] = []
    attributes = {"removeprefix", "removesuffix", "pairwise", "is_relative_to", "readlink", "bit_count", "hardlink_to"}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("strict", "slots", "kw_only"):
            hits.append((node.value, node.arg))
        elif isinstance(node, ast.Attribute) and node.attr in attributes:
            hits.append((node, node.attr))
        elif isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} & {
            "cache",
            "KW_ONLY",
            "pairwise",
        }:
            hits.append((node, "import"))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and isinstance(node.right, ast.Dict):
            hits.append((node, "dict | dict"))
        elif isinstance(node, ast.AugAssign) and isinstance(node.value, ast.Dict):
            hits.append((node, "|="))
    for line in tree.body:  # an alias such as Size = tuple[int, int]; annotations are not evaluated
        if (
            isinstance(line, ast.Assign)
            and isinstance(line.value, ast.Subscript)
            and isinstance(line.value.value, ast.Name)
        ) and line.value.value.id in ("tuple", "list", "dict", "set", "frozenset"):
            hits.append((line, line.value.value.id))
    return hits


@pytest.mark.parametrize(
    "source",
    [
        "zip(a, b, strict=True)",
        "a.removeprefix('x')",
        "from functools import cache",
        "a |= {}",
        "Size = tuple[int, int]",
    ],
)
def test_newer_python_is_noticed(source: str) -> None:
    assert newer_than_3_8(ast.parse(source))


def test_an_error_of_the_program_is_one_line(kit: Path, own_kit: Path) -> None:
    (own_kit / "short.py").write_text("def open_model(file):\n    return lambda inputs: [1.0]\n")
    (own_kit / "lacking.py").write_text("import no_such_runtime\n")
    (own_kit / "model.rknn").write_bytes(b"compiled")
    for words, message in (
        (("none.onnx", "--runtime", "mnn"), "no such file; the models of this kit are models/fp32-normalized.onnx"),
        (("model.rknn", "--runtime", "example"), "--input is missing; expected one of uint8-nhwc"),
        (("model.rknn", "--runtime", "example", "--input", "uint8-nhwc"), "open_model is empty; fill it in"),
        (("models/fp32.onnx", "--runtime", "rknn"), "no such file; expected example, mnn, onnxruntime, openvino"),
        (("models/fp32.onnx", "--runtime", "lacking.py"), "cannot be loaded (No module named 'no_such_runtime')"),
        (("models/fp32.onnx", "--runtime", "short.py"), "the model gave 1 numbers; expected 3, one per class"),
        (
            ("models/fp32.onnx", "--runtime", "short.py", "--answers", "a.txt"),
            "expected a name that ends in .csv or .npz",
        ),
        (("models/fp32.onnx", "--runtime", "onnxruntime", "README.md"), "not a photo"),
    ):
        failed = run(own_kit, *words)
        assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1), failed.stderr
        assert failed.stderr.startswith("classify: ")
        assert message in failed.stderr


def test_only_a_kit_is_replaced_and_only_when_told_to(
    own_kit: Path, bundle: Bundle, photos: Path, tmp_path: Path
) -> None:
    words = ("deploy", "kit", bundle.path, own_kit, "--data", photos, "--calibration-photos", 1)
    (own_kit / "mine.txt").write_text("mine")
    assert "holds a device kit; choose another path, or replace it with --overwrite" in failure(*words)
    assert (own_kit / "mine.txt").exists()
    assert call(*words, "--overwrite").exit_code == 0
    assert not (own_kit / "mine.txt").exists()
    assert len(np.load(own_kit / "calibration/images-uint8-nhwc.npy")) == 1
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    refused = failure("deploy", "kit", bundle.path, other, "--data", photos, "--overwrite")
    assert "exists and is not a device kit" in refused
    assert [path.name for path in other.iterdir()] == ["mine.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kit", "other"]


def test_what_cannot_be_written_leaves_nothing(bundle: Bundle, trained: Bundle, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--test-photos 2: 3 classes; expected at least one photo of each"):
        deploy_kit(bundle, tmp_path / "kit", photos, replace(KitSettings(), test_photos=2))
    assert "no golden" in failure("deploy", "kit", trained.path, tmp_path / "kit", "--data", photos)
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_test_photo_is_stated_and_needs_no_answer(
    bundle: Bundle, copied: Bundle, photos: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    (data / "test/Beet/000.jpg").write_bytes(b"no photo")
    deploy_kit(bundle, tmp_path / "kit", data, KitSettings(calibration_photos=1))
    done = run(tmp_path / "kit", "models/fp32.onnx", "--runtime", "onnxruntime", "--answers", tmp_path / "a.csv")
    assert "59 answers, 1 unreadable photos" in done.stdout, done.stderr
    row = judge(copied, data, tmp_path / "a.csv", "--name", "kit", "--margin", "auto")
    assert row["paired"]["flips"] == 0


def test_the_readme_names_what_is_there(kit: Path, written: dict[str, Any], bundle: Bundle) -> None:
    text = (kit / "README.md").read_text()
    assert "We have run none of the compilers" in text
    assert set(json.loads((kit / "kit.json").read_text())["models"]) == {
        f"models/{file.name}" for file in (kit / "models").iterdir()
    }
    for file in (kit / "models").iterdir():
        assert f"| `{file.name}` |" in text
    for name in ("dataset.txt", "input_list_nchw.txt", "input_list_nhwc.txt", "images-uint8-nhwc.npy"):
        assert name in text
        assert (kit / "calibration" / name).is_file()
    assert all(f"--input {form}" in text for form in FORMS)
    mean = [round(255 * value, 4) for value in bundle.manifest.contract.mean]
    assert f"normalization({mean}, " in text
    assert f"mean_values=[{mean}]" in text
    assert written["size_bytes"] == sum((kit / name).stat().st_size for name in written["files"])
