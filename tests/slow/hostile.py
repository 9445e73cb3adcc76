"""A copy of a ResNet18 bundle whose answers are the same but whose channels are hostile to quantization.

    python tests/slow/hostile.py BUNDLE COPY
    vegrt export COPY --data DATA --max-drop 1

Every 16th channel between the two convolutions of layer2.0 is 1000 times larger, and the second convolution undoes it: ReLU
is positively homogeneous, so the float network computes what it did.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from vegrt.bundle.bundle import open_bundle
from vegrt.bundle.change import changing

FACTOR = 1000.0
EVERY = 16
BLOCK = "layer2.0"


def main(source: Path, target: Path) -> None:
    bundle = open_bundle(source)
    weights = load_file(bundle.file("weights"))
    channels = torch.arange(weights[f"{BLOCK}.bn1.weight"].shape[0]) % EVERY == 0
    for name in ("weight", "bias"):
        weights[f"{BLOCK}.bn1.{name}"][channels] *= FACTOR
    weights[f"{BLOCK}.conv2.weight"][:, channels] /= FACTOR
    known = bundle.artifact("weights")
    with changing(target) as staging:
        save_file(weights, staging.file(known.path))
        staging.add(known.path, "weights", details=known.details)
        staging.finish(replace(bundle.manifest, artifacts=(), calibration={}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
