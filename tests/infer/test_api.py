"""The Python API: the same answers whatever a photo comes as, in order, in bounded memory, from several threads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vegrt
from vegrt import DataError, Model, Prediction, VegrtError, load
from vegrt.bundle.bundle import Bundle
from vegrt.errors import BundleError
from vegrt.infer.answers import predictions
from vegrt.infer.decode.read_ahead import AHEAD, read_ahead
from vegrt.infer.runtimes.logits import softmax
from vegrt.photo.preprocess import load_image

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(bundle: Bundle) -> Model:
    return load(bundle.path, variant="fp32", runtime="onnxruntime", batch=4)


@pytest.fixture(scope="module")
def paths(photos: Path) -> list[Path]:
    return sorted(photos.glob("test/*/*.jpg"))[::6]


def close(first: Prediction, second: Prediction) -> bool:
    """Return whether two answers are the same but for what batching does to the last bits."""
    same = [score.label for score in first.top] == [score.label for score in second.top]
    return same and all(abs(a.probability - b.probability) < 1e-5 for a, b in zip(first.top, second.top, strict=True))


def test_importing_vegrt_loads_nothing_and_unknown_names_are_unknown() -> None:
    program = "import sys, vegrt; print(*(name.partition('.')[0] for name in sys.modules)); vegrt.load; vegrt.nothing"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not {"numpy", "PIL", "typer", "onnxruntime"} & set(done.stdout.split())
    assert "AttributeError: module 'vegrt' has no attribute 'nothing'" in done.stderr
    assert set(vegrt.__all__) <= set(dir(vegrt))


def test_one_photo_gives_one_prediction_that_is_the_runners(model: Model, paths: list[Path]) -> None:
    pixels = load_image(paths[0], model.bundle.manifest.contract)
    probabilities = softmax(model.logits(pixels[None]))[0]
    prediction = model.predict(paths[0], top_k=2)
    best = int(probabilities.argmax())
    assert (prediction.label, prediction.index, prediction.probability) == (
        model.classes[best],
        best,
        probabilities[best],
    )
    assert [score.index for score in prediction.top] == np.argsort(-probabilities)[:2].tolist()
    assert json.loads(json.dumps(prediction.to_dict())) == {
        "label": prediction.label,
        "probability": prediction.probability,
        "index": prediction.index,
        "top": [{"label": s.label, "probability": s.probability, "index": s.index} for s in prediction.top],
    }
    assert str(prediction) == f"{prediction.label} {100 * prediction.probability:.1f} %"
    assert len(model.predict(paths[0], top_k=99).top) == len(model.classes)


def test_a_photo_may_be_a_path_text_bytes_a_pil_image_or_an_array(model: Model, paths: list[Path]) -> None:
    want = model.predict(paths[1])
    with Image.open(paths[1]) as image:
        array = np.asarray(image)
        for photo in (str(paths[1]), paths[1].read_bytes(), image, array, array[:, ::-1][:, ::-1]):
            assert model.predict(photo) == want


def test_a_pil_image_is_turned_and_converted_as_its_file_would_be(
    model: Model, paths: list[Path], tmp_path: Path
) -> None:
    with Image.open(paths[2]) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(tmp_path / "turned.png", exif=exif)
        image.convert("L").save(tmp_path / "grey.png")
        image.convert("RGBA").save(tmp_path / "alpha.png")
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            assert model.predict(image) == model.predict(path), path.name


def test_many_photos_of_any_kind_come_back_in_order(model: Model, paths: list[Path]) -> None:
    want = [model.predict(path) for path in paths]
    assert len({answer.probability for answer in want}) == len(paths)
    mixed = [path if number % 2 else path.read_bytes() for number, path in enumerate(paths)]
    for images in (paths, tuple(paths), mixed, iter(paths), [str(path) for path in paths]):
        assert all(map(close, model.predict(images), want))
    batch = np.stack([load_image(path, model.bundle.manifest.contract) for path in paths])
    assert all(map(close, model.predict(batch), want))
    assert model.predict([]) == []
    assert model.predict(batch[:0]) == []


def test_a_bad_photo_of_many_raises_or_takes_its_place(model: Model, paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("text")
    images = [paths[0], tmp_path / "bad.jpg", tmp_path / "none.jpg", paths[1]]
    with pytest.raises(DataError, match=r"bad\.jpg: not a photo"):
        model.predict(images)
    outcomes = model.predict(images, on_error="return")
    assert isinstance(outcomes[1], DataError)
    assert isinstance(outcomes[2], DataError)
    assert "no such file" in str(outcomes[2])
    assert [isinstance(outcome, Prediction) for outcome in outcomes] == [True, False, False, True]
    answers = model.predict_iter(images)
    assert isinstance(next(answers), Prediction)
    with pytest.raises(DataError):
        next(answers)
    with pytest.raises(DataError, match=r"bad\.jpg"):
        model.predict(tmp_path / "bad.jpg", on_error="return")


def test_the_error_for_a_wrong_photo_says_what_was_expected(model: Model, paths: list[Path]) -> None:
    array = np.zeros((20, 30, 3), np.uint8)
    for wrong, reason in (
        (array.astype(np.float32), r"float32 \(20, 30, 3\); expected uint8 \(H, W, 3\)"),
        (array[:, :, :2], r"uint8 \(20, 30, 2\)"),
        (array[:0], "expected uint8"),
        (array[:, :, 0], r"uint8 \(20, 30\)"),
        (np.zeros((1, 20, 20, 3), np.uint8), r"a prepared batch is uint8 \(N, 48, 48, 3\)"),
        ([7], "int; expected a path, bytes, a PIL image"),
        (b"", "not a photo"),
    ):
        with pytest.raises(DataError, match=reason):
            model.predict(wrong)  # type: ignore[arg-type]
    half = paths[0].read_bytes()
    (truncated := paths[0].parent.parent.parent / "truncated.jpg").write_bytes(half[: len(half) // 2])
    with Image.open(truncated) as image, pytest.raises(DataError, match="image: damaged image"):
        model.predict(image)
    truncated.unlink()


def test_options_that_make_no_sense_are_one_line(
    bundle: Bundle, model: Model, paths: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(VegrtError, match="top_k: 0"):
        model.predict(paths[0], top_k=0)
    with pytest.raises(VegrtError, match="on_error: 'skip'"):
        model.predict_iter(paths, on_error="skip")  # type: ignore[call-overload]
    with pytest.raises(VegrtError, match="batch: 0"):
        load(bundle.path, batch=0)
    with pytest.raises(BundleError, match="expected a bundle"):
        load(tmp_path)
    with pytest.raises(BundleError, match="no int4 model"):
        load(bundle.path, variant="int4")


def test_a_model_says_what_it_is(model: Model, bundle: Bundle) -> None:
    assert model.classes == ("Beet", "Cress", "Eggplant")
    assert (model.variant, model.runtime, model.device, model.size) == ("fp32", "onnxruntime", "cpu", 48)
    assert repr(model) == f"Model({str(bundle.path)!r}, variant='fp32', runtime='onnxruntime')"
    assert "no variant passed the gate" in load(str(bundle.path)).reason


def test_a_stream_may_be_endless_and_is_not_read_far_ahead(model: Model, paths: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for number in count():
            taken += 1
            yield paths[number % len(paths)]

    answers = model.predict_iter(endless())
    want = [model.predict(path) for path in paths]
    for number, answer in enumerate(islice(answers, 50)):
        assert close(answer, want[number % len(paths)])
        assert taken <= number + 1 + (AHEAD + 1) * model.batch
    answers.close()  # type: ignore[attr-defined]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(1, 7))
def test_reading_ahead_keeps_order_and_loses_nothing(total: int, size: int) -> None:
    def read(number: int) -> int:
        if number % 5 == 3:
            raise DataError(str(number))
        return number

    blocks = list(read_ahead(range(total), read, size))
    flat = [int(str(result)) for results in blocks for result in results]
    assert flat == list(range(total))
    assert all(len(results) == size for results in blocks[:-1])
    assert all(isinstance(result, DataError) == (int(str(result)) % 5 == 3) for results in blocks for result in results)


def test_what_the_callers_iterable_raises_is_not_swallowed(model: Model, paths: list[Path]) -> None:
    def failing() -> Iterator[Path]:
        yield from paths
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        model.predict(failing(), on_error="return")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_several_threads_may_ask_one_model(bundle: Bundle, paths: list[Path], runtime: str) -> None:
    """OpenVINO's request refuses a second caller; without the lock this fails with `Infer Request is busy`."""
    model = load(bundle.path, variant="int8-cpu", runtime=runtime)
    want = [model.predict(path) for path in paths]
    numbers = [number % len(paths) for number in range(80)]
    with ThreadPoolExecutor(8) as pool:
        predictions = list(pool.map(lambda number: model.predict(paths[number]), numbers))
    assert all(answer == want[number] for answer, number in zip(predictions, numbers, strict=True))


def test_equal_probabilities_keep_the_order_of_classes() -> None:
    (answer,) = predictions(np.array([[1, 2, 2, 0]], np.float32), ("a", "b", "c", "d"), 3)
    assert [score.label for score in answer.top] == ["b", "c", "a"]
    assert sum(score.probability for score in answer.top) < 1


def test_the_documented_example_runs(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs/python-api.md").read_text(encoding="utf-8")
    (example,) = (part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "predict_iter" in part)
    shutil.copytree(bundle.path, tmp_path / "models/resnet18")
    shutil.copytree(photos / "test/Beet", tmp_path / "photos")
    (tmp_path / "photos/broken.jpg").write_text("text")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    title, best, top, *rows = done.stdout.splitlines()
    assert title == "fp32 on onnxruntime"
    want = load(bundle.path).predict(photos / "test/Beet/000.jpg")
    assert best == str(want)
    assert top == str([f"{score.label} {score.probability:.2f}" for score in want.top])
    assert rows[0] == f"photos/000.jpg {want.label} {want.probability:.3f}".rstrip("0")
    assert len(rows) == 21
    assert (
        rows[20]
        == "unreadable: photos/broken.jpg: not a photo but text; expected JPEG, PNG, WEBP, GIF, BMP, PPM, TIFF, AVIF, HEIF"
    )


@pytest.mark.parametrize(("stated", "used"), [(None, "1"), ("0", "0")])
def test_onnxruntime_sends_nothing_unless_the_user_says_so(stated: str | None, used: str) -> None:
    name = "ORT_DISABLE_TELEMETRY"
    environment = {key: value for key, value in os.environ.items() if key != name} | ({name: stated} if stated else {})
    program = f"import os; import vegrt; print(os.environ[{name!r}])"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == used
