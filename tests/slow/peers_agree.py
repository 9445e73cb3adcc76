"""The peers give vegrt's own labels, and every program in peers/ runs: otherwise a comparison of their speeds means nothing.

python tests/slow/peers_agree.py BUNDLE PHOTOS: BUNDLE with a checkpoint of torchvision, PHOTOS a folder with a folder for each
class. Prints one line for each program; exits with 1 when a program failed or labels too many photos differently.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parents[2] / "peers"
PHOTOS = 60
SAME = {
    "plain_onnxruntime": 1.0,
    "openvino_async": 1.0,
    "torch_eager": 0.95,
    "timm_infer": 0.95,
}  # the last two resize differently
SAME |= {"plain_mnn": 0.95, "plain_ncnn": 1.0}  # MNN decodes JPEGs itself
OTHERS = {
    "ours": ("--kind", "process", "--limit", "9"),
    "ultralytics_predict": ("--limit", "9"),
    "openvino_benchmark_app": ("--memory", "--limit", "9"),
    "share": ("--limit", "9", "--rounds", "1"),
    "large_photos": ("--limit", "1", "--rounds", "1"),
    "soak": ("--soak", "60", "--every", "0.05"),
}


def main(bundle: Path, photos: Path) -> int:
    """Run every program and return how many failed or disagree."""
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        labels = {name: answered(name, bundle, photos, Path(folder)) for name in ("ours", *SAME)}
    for name, least in SAME.items():
        same = sum(labels["ours"].get(path) == label for path, label in labels[name].items())
        failures += same < least * len(labels["ours"])
        sys.stdout.write(f"{name}: {same} of {len(labels['ours'])} labels as ours, at least {least:.0%} expected\n")
    for name, words in OTHERS.items():
        line = run(name, photos, "--bundle", bundle, "--variant", "fp32", *words)
        failures += not line
        sys.stdout.write(f"{name}: {json.dumps(line) if line else 'failed'}\n")
    return failures


def answered(name: str, bundle: Path, photos: Path, folder: Path) -> dict[str, str]:
    """Return the label of each path from a program; empty when it failed."""
    out = folder / f"{name}.csv"
    options = ("--variant", "fp32", "--batch", 7, "--workers", 1, "--limit", PHOTOS, "--out", out)
    if not run(name, photos, "--bundle", bundle, *options):
        return {}
    with out.open(newline="") as file:
        return {row["path"]: row["label"] for row in csv.DictReader(file)}


def run(name: str, *words: object) -> dict[str, Any]:
    """Return the JSON line of a program; empty, with its errors on stderr, when it failed."""
    command = [sys.executable, str(PEERS / f"{name}.py"), *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600)
    line: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return line


if __name__ == "__main__":
    raise SystemExit(min(1, main(Path(sys.argv[1]), Path(sys.argv[2]))))
