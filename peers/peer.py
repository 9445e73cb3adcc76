"""Shared by all programs in this folder: arguments, photos, the CSV of answers, and the JSON line that they print.

It does not import vegrt, because the peers are programs that work without it.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """The task of a program. photos: sorted. bundle: folder with fp32.onnx, weights.safetensors and manifest.json."""

    photos: list[Path]
    bundle: Path
    manifest: dict[str, Any]
    batch: int
    workers: int
    variant: str
    out: Path

    @property
    def classes(self) -> list[str]:
        """Return the class names, in the order of the logits."""
        return list(self.manifest["classes"])

    @property
    def contract(self) -> dict[str, Any]:
        """Return size and resize in pixels, mean and std per channel. The peers do only what the first edition can say."""
        if "fit" in self.manifest["contract"]:
            skip(
                Path(sys.argv[0]).stem,
                "only for bundles whose contract is of the first edition: square, cropped, bilinear",
            )
        return dict(self.manifest["contract"])


def read_job(description: str | None) -> Job:
    """Return the task from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("photos", type=Path, help="Folder of JPEGs; their parent folders are the labels.")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2, help="Decoding processes, if the program has them.")
    parser.add_argument("--variant", default="int8-cpu", help="Variant for vegrt's own programs.")
    parser.add_argument("--limit", type=int, default=0, help="Number of photos, spread evenly; 0: all.")
    parser.add_argument("--out", type=Path, help="CSV of answers; default: a temporary file.")
    arguments = parser.parse_args()
    photos = sorted(path for path in arguments.photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if arguments.limit:
        photos = photos[:: max(1, len(photos) // arguments.limit)][: arguments.limit]
    if not photos:
        parser.error(f"{arguments.photos}: no JPEG files")
    manifest = json.loads((arguments.bundle / "manifest.json").read_text(encoding="utf-8"))
    out = arguments.out or Path(tempfile.mkdtemp()) / "out.csv"
    return Job(photos, arguments.bundle, manifest, arguments.batch, arguments.workers, arguments.variant, out)


def write_answers(job: Job, paths: Sequence[str | Path], logits: Any) -> list[str]:
    """Write path, label and probability of (N, K) logits to the CSV, as every program must; return the labels."""
    import numpy as np

    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    best, probabilities = logits.argmax(axis=1), (shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1)
    labels = [job.classes[index] for index in best]
    with job.out.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "probability"])
        table.writerows(zip(map(str, paths), labels, probabilities.round(6), strict=True))
    return labels


def report(
    name: str, job: Job, paths: Sequence[str | Path], labels: Sequence[str], *, load_s: float, seconds: float
) -> None:
    """Print the JSON line. load_s: imports and loading the model. seconds: from opening the first file to the complete CSV."""
    right = [Path(path).parent.name == label for path, label in zip(paths, labels, strict=True)]
    known = {Path(path).parent.name for path in paths} <= set(job.classes)
    line = {
        "name": name,
        "images": len(labels),
        "batch": job.batch,
        "load_s": round(load_s, 3),
        "seconds": round(seconds, 3),
        "images_per_s": round(len(labels) / seconds, 2),
        "top1": round(sum(right) / len(right), 4) if known else None,
    }
    sys.stdout.write(json.dumps(line) + "\n")


def skip(name: str, reason: str) -> None:
    """Print why a program cannot run, and exit with 0."""
    sys.stdout.write(json.dumps({"name": name, "skipped": " ".join(reason.split())[:300]}) + "\n")
    raise SystemExit(0)
