"""NVIDIA ModelOpt's int8 of a bundle's fp32.onnx beside ours: same calibration photos, same runtime, agreement with fp32.

python -m venv modelopt && modelopt/bin/pip install 'nvidia-modelopt[onnx]==0.47.0' torch==2.14.1
python tests/slow/modelopt_beside.py BUNDLE DATA modelopt/bin/python
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.calibration.photos import calibration_photos
from vegrt.calibration.settings import CalibrationSettings
from vegrt.calibration.subject import split_photos
from vegrt.dataset.photos import read_split
from vegrt.infer.decode.pipeline import batches
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Runner

METHODS = ("max", "entropy")
MODELOPT = """
import sys
import numpy as np
from modelopt.onnx.quantization import quantize
model, photos, method, out = sys.argv[1:]
images = np.load(photos)
shape = "images:" + "x".join(map(str, (1, *images.shape[1:])))
quantize(model, quantize_mode="int8", calibration_data={"images": images}, calibration_method=method,
         calibration_shapes=shape, calibration_eps=["cpu"], high_precision_dtype="fp32", output_path=out)
"""


def main(path: Path, data: Path, python: Path) -> None:
    bundle = open_bundle(path)
    split = read_split(data, "test", bundle.manifest.classes)
    images = pixels(bundle, [photo.path for photo in split.photos])
    labels = np.array([photo.label for photo in split.photos])
    want = answers(open_candidate(bundle, Candidate("fp32", "onnxruntime")), images)
    sys.stdout.write("| int8 model, on ONNX Runtime | agreement with fp32 | top-1 |\n|---|---|---|\n")
    runners: dict[str, Runner] = {
        f"vegrt {variant}": open_candidate(bundle, Candidate(variant, "onnxruntime"))
        for variant in ("int8", "int8-cpu")
    }
    for name, runner in (runners | theirs(bundle, data, python)).items():
        labels_given = answers(runner, images)
        sys.stdout.write(f"| {name} | {(labels_given == want).mean():.2%} | {(labels_given == labels).mean():.2%} |\n")
        sys.stdout.flush()
    sys.stdout.write(f"| fp32 | | {(want == labels).mean():.2%} |\n")


def theirs(bundle: Bundle, data: Path, python: Path) -> dict[str, Runner]:
    """Return ModelOpt's models, made with the photos that our calibration observed."""
    photos = calibration_photos(data, bundle.manifest.classes, bundle.manifest.contract)
    observed, _ = split_photos(photos.used, CalibrationSettings())
    runners: dict[str, Runner] = {}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "photos.npy"), observed.images())
        for method in METHODS:
            model, out = Path(folder, f"{method}.onnx"), Path(folder, f"{method}.int8.onnx")
            shutil.copy(bundle.file("model", "fp32"), model)  # it rewrites its input
            command = [python, "-c", MODELOPT, model, Path(folder, "photos.npy"), method, out]
            subprocess.run(list(map(str, command)), check=True, stdout=sys.stderr)
            runners[f"ModelOpt {method}"] = open_onnxruntime(out.read_bytes())
    return runners


def pixels(bundle: Bundle, paths: list[Path]) -> NDArray[np.uint8]:
    return np.concatenate([batch.images for batch in batches(paths, bundle.manifest.contract, 32)])


def answers(runner: Runner, images: NDArray[np.uint8]) -> NDArray[np.intp]:
    return np.concatenate([runner.logits(images[at : at + 32]).argmax(axis=1) for at in range(0, len(images), 32)])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
