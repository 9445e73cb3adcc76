"""Time, memory and file sizes at sizes that the reference set does not have, on synthetic data in a temporary folder.

    python peers/growth.py evaluate [--photos 50000] [--classes 1000] [--out FOLDER]
    python peers/growth.py resume BUNDLE PHOTOS [--names 2000000] [--suffix .csv]
    python peers/growth.py audit [--photos 200000]

evaluate: synthetic logits of eight candidates, figures and verdicts, result files, and the report. --out keeps them.
resume: `vegrt infer --resume` of a list of names that all have a row already but 16, from files that a real run began.
audit: `vegrt data audit` of 8x8 photos, of which one in a hundred is a near duplicate.

Each step is a process of its own. Prints one JSON line for each: seconds and the highest resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CLASS_LETTERS = "abcdefgh"
SPLIT_SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
BATCH = 32


def measured(name: str, command: list[str]) -> dict[str, Any]:
    """Run a command and return its seconds and highest resident memory. Exits if it fails with another code than a verdict's."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds, code = time.perf_counter() - start, os.waitstatus_to_exitcode(status)
    if code not in (0, 3, 4):
        raise SystemExit(f"{' '.join(command)}: exit {code}")
    return {"name": name, "seconds": round(seconds, 1), "peak_rss_mib": round(usage.ru_maxrss / 1024, 1)}


def step(name: str, *arguments: object) -> list[str]:
    """Return the command that runs a step of this file in a process of its own."""
    return [sys.executable, __file__, "--step", name, *map(str, arguments)]


def vegrt(*arguments: object) -> list[str]:
    """Return a command of vegrt."""
    return [sys.executable, "-m", "vegrt.cli", "--quiet", *map(str, arguments)]


def say(line: dict[str, Any]) -> None:
    """Print one JSON line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def measure_evaluate(folder: Path, photos: int, classes: int) -> None:
    """Evaluate synthetic logits, and report on them."""
    subprocess.run(step("photos", folder / "data", photos, classes), check=True)
    say(measured(f"evaluate {photos} photos, {classes} classes, 8 candidates", step("evaluate", folder)))
    results, page = folder / "bundle/results", folder / "report.html"
    for file in sorted(results.iterdir()):
        say({"name": file.name, "bytes": file.stat().st_size})
    say(measured("read the results without answers", step("read", folder)))
    say(measured("report", vegrt("report", folder / "bundle", "--data", folder / "data", "-o", page)))
    for file in sorted(folder.glob("report*")):
        say({"name": file.name, "bytes": file.stat().st_size})


def measure_resume(folder: Path, bundle: Path, photos: Path, names: int, suffix: str) -> None:
    """Resume a run of which all rows but 16 are there."""
    images = sorted(path for path in photos.rglob("*.jpg"))[:32]
    table, listed = folder / f"out{suffix}", folder / "names.txt"
    listed.write_text("".join(f"{path.absolute()}\n" for path in images[:16]))
    command = vegrt("infer", "--bundle", bundle, listed, "-o", table, "--resume", "--variant", "fp32")
    say(measured("16 photos", command))
    part = table.with_name(table.name + ".part")
    table.rename(part)
    lines = part.read_text().splitlines()
    with part.open("a") as rows, listed.open("a") as list_file:
        for number in range(names):
            name = f"/data/photos/{number // 1000:06d}/{number:09d}.jpg"
            rows.write(lines[-1].replace(str(images[15].absolute()), name) + "\n")
            list_file.write(name + "\n")
        list_file.write("".join(f"{path.absolute()}\n" for path in images[16:]))
    say(measured(f"resume, {names} rows in {part.stat().st_size / 1e6:.0f} MB of {suffix}", command))


def measure_audit(folder: Path, photos: int) -> None:
    """Audit photos of which a few are near duplicates."""
    subprocess.run(step("scenes", folder / "data", photos), check=True)
    say(measured(f"audit {photos} photos", vegrt("data", "audit", folder / "data", "-o", folder / "audit")))
    for file in sorted((folder / "audit").iterdir()):
        say({"name": file.name, "bytes": file.stat().st_size})


def draw_photos(data: Path, photos: int, classes: int) -> None:
    """Make a test split of hard links: a tiny JPEG for each class."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for label in range(classes):
        folder = data / "test" / f"class {label:04d} {CLASS_LETTERS[label % 8] * 12}"
        folder.mkdir(parents=True)
        first = folder / "ILSVRC2012_val_00000000.jpg"
        Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(first)
        for number in range(1, photos // classes):
            os.link(first, folder / f"ILSVRC2012_val_{number:08d}.jpg")


def draw_scenes(data: Path, photos: int) -> None:
    """Make three splits of two classes of 8x8 JPEGs; every hundredth photo is the one before it, a little brighter."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    pixels = random.integers(0, 245, (8, 8, 3), np.uint8)
    for split, share in SPLIT_SHARES.items():
        for number in range(round(photos * share)):
            folder = data / split / f"class {number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = pixels + np.uint8(5) if number % 100 == 99 else random.integers(0, 245, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:08d}.jpg", quality=95)


def evaluate_synthetic(folder: Path) -> None:
    """Make a bundle of dummy artifacts, and save the evaluation of synthetic logits of about 76 % accuracy."""
    import numpy as np

    from vegrt.bundle.bundle import open_bundle
    from vegrt.bundle.change import changing
    from vegrt.bundle.manifest import Manifest
    from vegrt.dataset.photos import read_split
    from vegrt.evaluate.collect import AnswerCollector
    from vegrt.evaluate.evaluate import evaluate_answers
    from vegrt.infer.runtimes.candidates import Candidate
    from vegrt.photo.contract import Contract
    from vegrt.results.files import save_result

    split, noise = read_split(folder / "data", "test"), {"fp32": 0.0, "fp16": 0.002, "int8": 0.1, "int8-cpu": 0.1}
    with changing(folder / "bundle") as staging:
        for variant in noise:
            staging.file(f"{variant}.onnx").write_bytes(variant.encode())
            staging.add(f"{variant}.onnx", "model", variant)
        counts = {"test": {"photos": len(split), "counts": split.counts(), "fingerprint": split.fingerprint()}}
        backbone = {"backbone": "resnet18", "head": "gap"}
        staging.finish(Manifest("growth", split.classes, Contract(), backbone, data=counts))
    bundle, random, collector = open_bundle(folder / "bundle"), np.random.default_rng(0), AnswerCollector()
    candidates = {
        Candidate(variant, runtime): noise[variant] for runtime in ("onnxruntime", "openvino") for variant in noise
    }
    labels, classes = np.array([photo.label for photo in split.photos]), len(split.classes)
    for start in range(0, len(labels), BATCH):
        batch = labels[start : start + BATCH]
        base = random.standard_normal((len(batch), classes), np.float32)
        base[np.arange(len(batch)), batch] += 4.2
        logits = {
            candidate: base + np.float32(spread) * random.standard_normal(base.shape, np.float32)
            for candidate, spread in candidates.items()
        }
        collector.add(logits, batch)
    leaked = [split.relative(photo) for photo in split.photos[::20]]
    evaluation = evaluate_answers(bundle, split, [*range(len(labels))], collector.answers(), margin=0.5, leaked=leaked)
    save_result(bundle, "evaluate-test", evaluation)


def read_without_answers(folder: Path) -> None:
    """Read what infer reads to choose a candidate."""
    from vegrt.bundle.bundle import open_bundle
    from vegrt.results.bundle_results import read_results

    if read_results(open_bundle(folder / "bundle")).evaluation is None:
        raise SystemExit("no evaluation")


def run_step(name: str, folder: Path, numbers: list[int]) -> None:
    """Run one step in this process."""
    if name == "photos":
        draw_photos(folder, *numbers)
    elif name == "scenes":
        draw_scenes(folder, *numbers)
    elif name == "evaluate":
        evaluate_synthetic(folder)
    else:
        read_without_answers(folder)


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--step"]:
        run_step(sys.argv[2], Path(sys.argv[3]), [*map(int, sys.argv[4:])])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    evaluate, resume, audit = (kinds.add_parser(name) for name in ("evaluate", "resume", "audit"))
    evaluate.add_argument("--photos", type=int, default=50_000)
    evaluate.add_argument("--classes", type=int, default=1000)
    evaluate.add_argument("--out", type=Path, help="New folder that keeps data, bundle and report.")
    resume.add_argument("bundle", type=Path)
    resume.add_argument("photos", type=Path)
    resume.add_argument("--names", type=int, default=2_000_000)
    resume.add_argument("--suffix", default=".csv", choices=(".csv", ".jsonl"))
    audit.add_argument("--photos", type=int, default=200_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.kind == "evaluate":
            measure_evaluate(folder, arguments.photos, arguments.classes)
            if arguments.out:
                shutil.copytree(folder, arguments.out)
        elif arguments.kind == "resume":
            measure_resume(folder, arguments.bundle, arguments.photos, arguments.names, arguments.suffix)
        else:
            measure_audit(folder, arguments.photos)


if __name__ == "__main__":
    main()
