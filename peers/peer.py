"""Shared by the programs in this folder: arguments, photos, the CSV of answers, and the loop that `end_to_end.py` controls.

It does not import vegrt, because the peers are programs that work without it. A program is one file with a subclass of Peer.
"""

from __future__ import annotations

import time

START = time.perf_counter()

import argparse  # noqa: E402
import csv  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable, Iterable, Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from PIL import Image  # noqa: E402

SUFFIXES = (".jpg", ".jpeg")
CALIBRATION_PHOTOS = 300  # as many as NNCF takes unless told otherwise


@dataclass(frozen=True)
class Job:
    """The task of a program.

    photos: sorted. bundle: folder with fp32.onnx, weights.safetensors and manifest.json. variant, runtime: of vegrt's own
    programs; empty for its choice. calibration: folder of photos for 8-bit models. work: folder for converted models, which
    the next run finds again.
    """

    photos: list[Path]
    bundle: Path
    manifest: dict[str, Any]
    batch: int
    workers: int
    variant: str
    runtime: str
    calibration: Path
    work: Path
    out: Path

    @property
    def classes(self) -> list[str]:
        """Return the class names, in the order of the logits."""
        return list(self.manifest["classes"])

    @property
    def contract(self) -> dict[str, Any]:
        """Return size and resize in pixels, mean and std per channel. The peers do only what the first edition can say."""
        if "fit" in self.manifest["contract"]:
            raise SystemExit(
                "peers: only for bundles whose contract is of the first edition: square, cropped, bilinear"
            )
        return dict(self.manifest["contract"])

    def normalization(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and 1 / std per channel, for pixels in 0..255."""
        mean, std = (np.array(self.contract[key], np.float32) * 255 for key in ("mean", "std"))
        return mean, np.float32(1) / std

    def product(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return the folder `name` of converted models; `make` writes into it, unless an earlier run already did."""
        folder, unfinished = self.work / name, self.work / f"{name}.unfinished"
        if not folder.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            make(unfinished)
            unfinished.rename(folder)
        return folder

    def calibration_pixels(self) -> NDArray[np.uint8]:
        """Return the (N, H, W, 3) pixels of at most CALIBRATION_PHOTOS photos, spread evenly."""
        return np.stack([decode(path, self.contract) for path in spread(jpegs(self.calibration), CALIBRATION_PHOTOS)])


class Peer:
    """A program that is loaded, in the usual way: decode a batch, compute it, decode the next.

    name: in the tables. loads_anew: whether each run starts the whole program, so that it includes loading.
    """

    name = ""
    loads_anew = False

    def __init__(self, job: Job) -> None:
        """Load what `prepare` made. Raises ImportError where the package is not installed."""
        self.job = job

    @classmethod
    def prepare(cls, job: Job) -> None:
        """Convert or quantize the network; this is never timed."""

    def from_files(self, paths: Sequence[Path]) -> Any:
        """Return a batch of photos as `run` takes it."""
        return self.from_pixels(np.stack([decode(path, self.job.contract) for path in paths]))

    def from_pixels(self, images: NDArray[np.uint8]) -> Any:
        """Return (N, H, W, 3) pixels as `run` takes them."""
        return images

    def run(self, batch: Any) -> NDArray[np.float32]:
        """Return (N, K) logits of a batch."""
        raise NotImplementedError

    def batches(self, paths: Sequence[Path], size: int) -> Iterable[Any]:
        """Yield the photos in batches."""
        return (self.from_files(paths[start : start + size]) for start in range(0, len(paths), size))

    def answers(self, batches: Iterable[Any], size: int) -> NDArray[np.float32]:
        """Return (N, K) logits of batches, which have `size` photos, but for the last."""
        return np.concatenate([self.run(batch) for batch in batches])

    def files_to_csv(self, paths: Sequence[Path], size: int, out: Path) -> None:
        """Classify the photos and write the CSV."""
        write_answers(out, self.job.classes, paths, self.answers(self.batches(paths, size), size))

    def from_memory(self, images: NDArray[np.uint8], size: int) -> tuple[float, NDArray[np.float32] | None]:
        """Return seconds and (N, K) logits of the engine alone: inputs lie in memory as it takes them. None: no logits."""
        inputs = [self.from_pixels(images[start : start + size]) for start in range(0, len(images), size)]
        start = time.perf_counter()
        logits = self.answers(inputs, size)
        return time.perf_counter() - start, logits


def run_peer(**kinds: type[Peer]) -> None:
    """Load a program; run it once and print its JSON line, or, with --serve, once for each JSON line on stdin.

    kinds: the choices of --kind, the default first.
    A line of stdin has `memory` (the engine alone, from memory), `batch` and `limit` (photos, 0: all). The first run of each
    kind, and after another batch size, is preceded by an untimed one of one batch.
    """
    default = next(iter(kinds))
    parser = arguments_of(sys.modules[kinds[default].__module__].__doc__)
    parser.add_argument("--kind", choices=tuple(kinds), default=default)
    parser.add_argument("--serve", action="store_true", help="Take one line of JSON per run from stdin.")
    parser.add_argument("--memory", action="store_true", help="Run the engine alone, on decoded photos in memory.")
    arguments = parser.parse_args()
    job, program = read_job(parser, arguments), kinds[arguments.kind]
    prints = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # some libraries print on stdout
    imported_s = time.perf_counter() - START
    try:
        if prepare_anew(program, job):
            os.dup2(prints.fileno(), 1)
            os.execv(sys.executable, sys.orig_argv)  # without what the conversion loaded
        start = time.perf_counter()
        peer = program(job)
    except ImportError as error:
        print(json.dumps({"name": program.name, "skipped": f"not installed ({error})"}), file=prints, flush=True)
        return
    load_s = 0.0 if program.loads_anew else imported_s + time.perf_counter() - start
    requests: Iterable[dict[str, Any]] = [{"memory": arguments.memory, "batch": job.batch, "limit": 0}]
    if arguments.serve:
        print(json.dumps({"name": peer.name, "load_s": round(load_s, 3)}), file=prints, flush=True)
        requests = map(json.loads, sys.stdin)
    warm: set[bool] = set()
    batch = 0
    for request in requests:
        if request["memory"] not in warm or request["batch"] != batch:
            timed_run(peer, request, limit=request["batch"])
            warm, batch = {*warm, request["memory"]}, request["batch"]
        line = timed_run(peer, request, limit=request["limit"])
        print(json.dumps({"name": peer.name, "load_s": round(load_s, 3)} | line), file=prints, flush=True)


def prepare_anew(program: type[Peer], job: Job) -> bool:
    """Return whether a model was converted, which an earlier run had not done."""
    before = set(job.work.glob("*"))
    program.prepare(job)
    return set(job.work.glob("*")) != before


def timed_run(peer: Peer, request: dict[str, Any], *, limit: int) -> dict[str, Any]:
    """Run a program and return the JSON line. seconds: from opening the first file to the complete CSV; or the engine alone."""
    job, size = peer.job, request["batch"]
    photos = spread(job.photos, limit)
    job.out.unlink(missing_ok=True)
    if request["memory"]:
        seconds, logits = peer.from_memory(np.stack([decode(path, job.contract) for path in photos]), size)
        if logits is not None:
            write_answers(job.out, job.classes, photos, logits)
    else:
        start = time.perf_counter()
        peer.files_to_csv(photos, size, job.out)
        seconds = time.perf_counter() - start
    line = {"images": len(photos), "batch": size, "seconds": round(seconds, 4)}
    return line | {"images_per_s": round(len(photos) / seconds, 2), "top1": top1(job), "out": str(job.out)}


def arguments_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what all programs take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="Folder of JPEGs; their parent folders are the labels.")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2, help="Decoding processes, if the program has them.")
    parser.add_argument("--variant", default="", help="Variant of vegrt's own programs; default: its choice.")
    parser.add_argument("--runtime", default="", help="Runtime of vegrt's own programs; default: its choice.")
    parser.add_argument("--limit", type=int, default=0, help="Number of photos, spread evenly; 0: all.")
    parser.add_argument("--calibration", type=Path, help="Photos for 8-bit models; default: validation, beside PHOTOS.")
    parser.add_argument(
        "--work", type=Path, help="Folder for converted models; default: one under the temporary folder."
    )
    parser.add_argument("--out", type=Path, help="CSV of answers; default: a temporary file.")
    return parser


def read_job(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Job:
    """Return the task from the command line."""
    photos = spread(jpegs(arguments.photos), arguments.limit)
    if not photos:
        parser.error(f"{arguments.photos}: no JPEG files")
    manifest = json.loads((arguments.bundle / "manifest.json").read_text(encoding="utf-8"))
    weights = next(artifact["sha256"] for artifact in manifest["artifacts"] if artifact["role"] == "weights")
    return Job(
        photos=photos,
        bundle=arguments.bundle,
        manifest=manifest,
        batch=arguments.batch,
        workers=arguments.workers,
        variant=arguments.variant,
        runtime=arguments.runtime,
        calibration=arguments.calibration or arguments.photos.parent / "validation",
        work=arguments.work or Path(tempfile.gettempdir(), "vegrt-peers", weights[:16]),
        out=arguments.out or Path(tempfile.mkdtemp()) / "out.csv",
    )


def jpegs(folder: Path) -> list[Path]:
    """Return the JPEG files in a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def spread(photos: list[Path], limit: int) -> list[Path]:
    """Return at most `limit` of the photos, spread evenly; 0: all."""
    return [photos[index * len(photos) // limit] for index in range(limit)] if 0 < limit < len(photos) else photos


def decode(path: Path, contract: dict[str, Any]) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB: shorter side resized, then the centre crop."""
    image, size = Image.open(path).convert("RGB"), contract["size"]
    scale = contract["resize"] / min(image.size)
    if scale != 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    x, y = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((x, y, x + size, y + size)))


def normalized(images: NDArray[np.uint8], job: Job) -> NDArray[np.float32]:
    """Return (N, 3, H, W) float32 of (N, H, W, 3) pixels, as networks without built-in preprocessing take them."""
    mean, scale = job.normalization()
    return np.ascontiguousarray(((images - mean) * scale).transpose(0, 3, 1, 2))


def write_answers(out: Path, classes: list[str], paths: Sequence[Path], logits: NDArray[np.float32]) -> None:
    """Write path, label and probability of (N, K) logits to the CSV, as every program must."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    best, probabilities = logits.argmax(axis=1), (shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1)
    with out.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "probability"])
        labels = [classes[index] for index in best]
        table.writerows(zip(map(str, paths), labels, probabilities.round(6), strict=True))


def read_answers(out: Path) -> dict[str, str]:
    """Return the label of each path in a CSV; nothing if there is none."""
    if not out.is_file():
        return {}
    with out.open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["label"] for row in csv.DictReader(file)}


def top1(job: Job) -> float | None:
    """Return the share of answers that are the name of the photo's folder; None if other folders than classes occur."""
    answers = {Path(path): label for path, label in read_answers(job.out).items()}
    if not answers or not {path.parent.name for path in answers} <= set(job.classes):
        return None
    return round(sum(path.parent.name == label for path, label in answers.items()) / len(answers), 4)
