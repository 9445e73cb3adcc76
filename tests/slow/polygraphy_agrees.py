"""`polygraphy run` on a bundle's fp32.onnx, with its own ONNX Runtime runner, gives the logits of ours on real photos.

pip install polygraphy colored
python tests/slow/polygraphy_agrees.py BUNDLE PHOTOS
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vegrt.bundle.bundle import open_bundle
from vegrt.dataset.photos import image_files
from vegrt.infer.runtimes.logits import compare_logits
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.photo.preprocess import load_image

COUNT = 32


def main(path: Path, photos: Path) -> None:
    storage: Any = importlib.import_module("polygraphy.json")
    results: Any = importlib.import_module("polygraphy.comparator")
    bundle = open_bundle(path)
    model = bundle.file("model", "fp32")
    files = image_files(photos)[:COUNT]
    images = np.stack([load_image(file, bundle.manifest.contract) for file in files])
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder, "inputs.json"), Path(folder, "outputs.json")
        storage.save_json([{"images": images}], str(inputs))
        command = ["run", str(model), "--onnxrt", "--load-inputs", str(inputs), "--save-outputs", str(outputs)]
        subprocess.run([sys.executable, "-c", "from polygraphy.tools import main; main()", *command], check=True)
        ((_, iterations),) = results.RunResults.load(str(outputs)).items()
        theirs = np.asarray(iterations[0]["logits"])
    parity = compare_logits(theirs, open_onnxruntime(model).logits(images))
    sys.stdout.write(f"polygraphy and vegrt on {model.name}: {parity.to_dict()}\n")
    raise SystemExit(not (parity.max_abs_error <= 1e-4 and parity.top1_agreement == 1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
