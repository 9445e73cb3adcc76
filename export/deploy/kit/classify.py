"""Classifies photos on a device: the program of a device kit, which `vegrt deploy kit` writes as classify.py.

    python3 classify.py MODEL --runtime NAME --check                  compare the answers to the golden photos with fp32's
    python3 classify.py MODEL --runtime NAME --answers answers.csv    answer the test photos, for `vegrt evaluate --answers`
    python3 classify.py MODEL --runtime NAME PHOTO...                 print one line per photo: path, class, probability

NAME is a file in runtimes/, without .py, or the path of a file of your own; runtimes/example.py is a template. Needs Python 3.8,
numpy, Pillow and the runtime. The folder vegrt/ beside this file contains the parts of vegrt that the program needs, unchanged:
photos are prepared as in training.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.util
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Callable, Iterator, NamedTuple, Sequence

import numpy as np

from vegrt.errors import DataError, VegrtError
from vegrt.export.deploy.kit.inputs import FORMS, model_input
from vegrt.photo.preprocess import load_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

HERE = Path(__file__).parent
ARRAYS = "test/images-uint8-nhwc.npy"
MIN_COSINE = 0.9  # with the fp32 logits, of a compiled model: the limit of `vegrt verify` for int8
Model = Callable[["NDArray[Any]"], Any]  # maps the input of one photo to its logits, (1, K)


class Answer(NamedTuple):
    """The answer to a test photo. logits: (K,) float32; None with an error. latency_ms: of the model alone."""

    photo: str
    sha256: str
    logits: NDArray[np.float32] | None
    latency_ms: float
    error: str = ""


class Device(NamedTuple):
    """A model in a runtime.

    form: what it takes, a key of FORMS. contract: how photos are prepared, with all its attributes. min_cosine: the least cosine
    with fp32's logits of golden photos.
    """

    model: Model
    form: str
    contract: Any
    classes: Sequence[str]
    min_cosine: float

    def answer(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """Return (K,) logits of one (H, W, 3) image, and the milliseconds that the model took."""
        inputs = model_input(image[None], self.form, self.contract)
        start = time.perf_counter()
        output = self.model(inputs)
        latency_ms = (time.perf_counter() - start) * 1000
        logits = np.array(output, np.float32).reshape(-1)
        if len(logits) != len(self.classes):
            raise VegrtError(
                f"open_model: the model gave {len(logits)} numbers; expected {len(self.classes)}, one per class"
            )
        return logits, latency_ms


def main(words: Sequence[str]) -> int:
    """Run the program and return its exit code: 0 for success, 1 for an error or a failed check."""
    options = _parser().parse_intermixed_args(words)  # photos may follow the options
    try:
        device = open_device(options)
        if options.answers:
            return write_answers(device, options.answers, from_arrays=options.arrays)
        if options.check or not options.photos:
            return check(device)
        return classify(device, options.photos)
    except (VegrtError, OSError, NotImplementedError) as error:
        sys.stderr.write(f"classify: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Classify photos on this device, and check its answers.")
    parser.add_argument("model", type=Path, help="model file: of models/, or what the device's compiler made of one")
    parser.add_argument("photos", type=Path, nargs="*", help="photos to classify")
    parser.add_argument("--runtime", required=True, help="file in runtimes/ without .py, or the path of a .py file")
    parser.add_argument(
        "--input", choices=list(FORMS), help="what the model takes; known for the files of models/, else required"
    )
    parser.add_argument("--check", action="store_true", help="compare the answers to the golden photos with fp32's")
    parser.add_argument(
        "--min-cosine",
        type=float,
        help=f"least cosine with fp32's logits (default: of a model in kit.json, else {MIN_COSINE})",
    )
    parser.add_argument("--answers", type=Path, metavar="FILE", help="answer the test photos; .csv or .npz")
    parser.add_argument("--arrays", action="store_true", help="use the prepared test photos instead of the image files")
    return parser


def open_device(options: argparse.Namespace) -> Device:
    """Return the model, opened by the runtime's `open_model`."""
    file, kit = options.model, _json(HERE / "kit.json")
    names = ", ".join(sorted(kit["models"]))
    if not file.exists():
        raise VegrtError(f"{file}: no such file; the models of this kit are {names}")
    facts = {Path(name).name: model for name, model in kit["models"].items()}.get(file.name, {})
    form = options.input or facts.get("input")
    if form is None:
        raise VegrtError("{}: --input is missing; expected one of {}".format(file, ", ".join(FORMS)))
    least = options.min_cosine if options.min_cosine is not None else facts.get("min_cosine", MIN_COSINE)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in kit["contract"].items()}
    model = _slot(options.runtime).open_model(str(file))
    return Device(model, form, SimpleNamespace(**values), kit["classes"], least)


def _slot(runtime: str) -> Any:
    """Return the module of a runtime, loaded from its file."""
    file = Path(runtime) if runtime.endswith(".py") else HERE / "runtimes" / (runtime + ".py")
    if not file.is_file():
        names = sorted(path.stem for path in (HERE / "runtimes").glob("*.py"))
        raise VegrtError("--runtime {}: no such file; expected {} or a .py file".format(runtime, ", ".join(names)))
    specification = importlib.util.spec_from_file_location("slot_" + file.stem, str(file))
    assert specification is not None, "it is a .py file"
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except ImportError as error:
        raise VegrtError(f"{file}: cannot be loaded ({error}); install the runtime") from error
    return module


def classify(device: Device, photos: Sequence[Path]) -> int:
    """Print path, class and probability of each photo."""
    for photo in photos:
        logits, _ = device.answer(load_image(photo, device.contract))
        exponentials = np.exp(logits - logits.max())
        probability = exponentials.max() / exponentials.sum()
        sys.stdout.write(f"{photo}\t{device.classes[int(logits.argmax())]}\t{probability:.4f}\n")
    return 0


def check(device: Device) -> int:
    """Print, for each golden photo, whether its pixels and logits are those of fp32; return 0 if all are, else 1."""
    failed = 0
    for entry in _json(HERE / "golden/golden.json")["images"]:
        pixels = load_image(HERE / entry["file"], device.contract)
        has_pixels = hashlib.sha256(pixels.tobytes()).hexdigest() == entry["pixels_sha256"]
        cosine = _cosine(device.answer(pixels)[0], np.array(entry["logits"], np.float32))
        passed = has_pixels and cosine >= device.min_cosine
        failed += not passed
        words = "same pixels" if has_pixels else "different pixels (another JPEG decoder, or a changed contract)"
        sys.stdout.write(
            "{} {}: {}, cosine with fp32 {:.5f}\n".format("ok  " if passed else "FAIL", entry["file"], words, cosine)
        )
    return 1 if failed else 0


def _cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12))


def write_answers(device: Device, file: Path, *, from_arrays: bool) -> int:
    """Answer all test photos and write the file for `vegrt evaluate --answers`."""
    writers = {".csv": _write_csv, ".npz": _write_npz}
    if file.suffix not in writers:
        raise VegrtError(f"{file}: unknown format; expected a name that ends in .csv or .npz")
    answers = list(_answers(device, from_arrays))
    temporary = file.with_name("." + file.name + ".tmp" + file.suffix)
    writers[file.suffix](temporary, answers)
    temporary.replace(file)
    latencies = [answer.latency_ms for answer in answers if answer.logits is not None]
    median = float(np.median(latencies)) if latencies else 0.0
    unread = len(answers) - len(latencies)
    sys.stdout.write(
        f"{file}: {len(latencies)} answers, {unread} unreadable photos; median of the model {median:.2f} ms\n"
    )
    return 0


def _answers(device: Device, from_arrays: bool) -> Iterator[Answer]:
    """Yield the answer to each test photo in the order of test/photos.csv."""
    with (HERE / "test/photos.csv").open(encoding="utf-8", newline="") as opened:
        rows: list[dict[str, str]] = list(csv.DictReader(opened))
    arrays = HERE / ARRAYS
    if not rows[0]["file"]:
        from_arrays = True
    if from_arrays and not arrays.is_file():
        raise VegrtError(f"{arrays}: not in this kit; write one with: vegrt deploy kit --test-as both")
    images = np.load(str(arrays), mmap_mode="r") if from_arrays else None
    for index, row in enumerate(rows):
        try:
            pixels = load_image(HERE / row["file"], device.contract) if images is None else np.array(images[index])
        except DataError as error:
            yield Answer(row["photo"], row["sha256"], None, 0.0, str(error))
            continue
        yield Answer(row["photo"], row["sha256"], *device.answer(pixels))


def _write_csv(file: Path, answers: Sequence[Answer]) -> None:
    classes = max((len(answer.logits) for answer in answers if answer.logits is not None), default=0)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["photo", "sha256", *(f"logit_{index}" for index in range(classes)), "latency_ms", "error"])
        for answer in answers:
            if answer.logits is None:
                numbers, latency = [""] * classes, ""
            else:  # nine digits give every float32 back
                numbers, latency = (
                    [f"{logit:.9g}" for logit in answer.logits],
                    f"{answer.latency_ms:.4f}",
                )
            writer.writerow([answer.photo, answer.sha256, *numbers, latency, answer.error])


def _write_npz(file: Path, answers: Sequence[Answer]) -> None:
    """Write the photos that were answered: the format has no errors."""
    answered = [answer for answer in answers if answer.logits is not None]
    np.savez_compressed(
        str(file),
        photo=np.array([answer.photo for answer in answered]),
        sha256=np.array([answer.sha256 for answer in answered]),
        logits=np.array([answer.logits for answer in answered], np.float32),
        latency_ms=np.array([answer.latency_ms for answer in answered]),
    )


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
