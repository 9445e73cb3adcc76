"""Writes the embedded sample set: fifteen vegetables drawn in code, so that every command can be tried without a download.

The modules `scene` and `vegetables` draw the pictures.
Imports only numpy and Pillow, because every drawing process has to import this module.

The set is hard enough that networks make mistakes. Measured on the default set with the difficulty in `scene`: ResNet18 from
random weights at 64 x 64, 8 epochs of `vegrt train --lr 2e-3 --augment light`: 93.5 % of the test images correct (seed 0).
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vegrt.errors import DataError, FormatError
from vegrt.files.atomic import creating, write_json
from vegrt.machine import available_cores
from vegrt.schema import read_json
from vegrt.terminal.progress import track
from vegrt.train.sample.scene import arrange, new_canvas, photograph
from vegrt.train.sample.vegetables import PAINTERS

GENERATOR_VERSION = 1  # increase it whenever the picture of a seed changes
CLASSES = tuple(PAINTERS)
SPLITS = ("train", "validation", "test")
RECORD = "sample.json"
JPEG_QUALITY = (55, 95)
PARALLEL_FROM = 100  # images; with fewer, starting processes takes longer than drawing
CHUNK = 16  # images that a process takes at a time


@dataclass(frozen=True, slots=True)
class SampleSizes:
    """Images per class in each split."""

    train: int = 100
    validation: int = 40
    test: int = 100


@dataclass(frozen=True, slots=True)
class _Job:
    path: Path
    label: str
    seed: int


def draw_picture(label: str, seed: int) -> Image.Image:
    """Return a 224 x 224 RGB picture of a class. Equal seeds give equal pictures.

    Raises DataError for a label outside CLASSES.
    """
    if label not in PAINTERS:
        raise DataError(f"{label!r}: not a class of the sample set; expected one of {', '.join(CLASSES)}")
    rng = np.random.default_rng(seed)
    canvas = new_canvas(rng)
    arrange(canvas, label, rng)
    return photograph(canvas, rng)


def write_sample_set(out: Path, sizes: SampleSizes = SampleSizes(), seed: int = 0) -> int:
    """Write OUT/{train,validation,test}/<Class>/NNNN.jpg and OUT/sample.json; return the number of images.

    The folder appears complete or not at all. Leaves a folder unchanged that already holds this set. An image depends only on
    the seed, its split, its class and its number, not on the sizes.
    A script that calls this function needs `if __name__ == "__main__"`, because the drawing processes import it.
    Raises DataError for sizes below one and for a folder that has other content, VegrtError for one that cannot be written.
    """
    if min(sizes.train, sizes.validation, sizes.test) < 1:
        raise DataError(f"{out}: sizes are {asdict(sizes)}; expected at least 1 image per class in every split")
    record = _record(sizes, seed)
    total = len(CLASSES) * (sizes.train + sizes.validation + sizes.test)
    if out.exists() and _is_filled(out):
        _check_same_set(out, record)
        return total
    with creating(out, flushed=False) as folder:
        jobs = _jobs(folder, sizes, seed)
        for parent in {job.path.parent for job in jobs}:
            parent.mkdir(parents=True)
        _draw_all(jobs)
        write_json(folder / RECORD, record)
    return total


def _record(sizes: SampleSizes, seed: int) -> dict[str, Any]:
    counts = {split: dict.fromkeys(CLASSES, size) for split, size in asdict(sizes).items()}
    return {"generator_version": GENERATOR_VERSION, "seed": seed, "sizes": asdict(sizes), "counts": counts}


def _jobs(folder: Path, sizes: SampleSizes, seed: int) -> list[_Job]:
    return [
        _Job(folder / split / label / f"{number:04d}.jpg", label, _image_seed(seed, split, label, number))
        for split, size in asdict(sizes).items()
        for label in CLASSES
        for number in range(size)
    ]


def _image_seed(seed: int, split: str, label: str, number: int) -> int:
    key = (SPLITS.index(split), CLASSES.index(label), number)
    words = np.random.SeedSequence(seed, spawn_key=key).generate_state(2, np.uint64)
    return int(words[0]) << 64 | int(words[1])


def _draw_all(jobs: Sequence[_Job]) -> None:
    if len(jobs) < PARALLEL_FROM:
        for job in track(jobs, "drawing the sample set", total=len(jobs)):
            _draw_file(job)
        return
    # spawn: the caller may have threads (torch, a server), and forking a process with threads can deadlock
    pool = ProcessPoolExecutor(
        available_cores(), mp_context=multiprocessing.get_context("spawn"), initializer=_leave_interrupts
    )
    try:
        for _ in track(pool.map(_draw_file, jobs, chunksize=CHUNK), "drawing the sample set", total=len(jobs)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _draw_file(job: _Job) -> None:
    low, high = JPEG_QUALITY
    draw_picture(job.label, job.seed).save(job.path, "JPEG", quality=low + job.seed % (high - low + 1))


def _leave_interrupts() -> None:
    """Ignore Ctrl-C: the parent process handles it, stops the pool and removes the folder."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _is_filled(out: Path) -> bool:
    if not out.is_dir():
        raise DataError(f"{out}: is a file; expected a folder for the sample set; choose another name")
    return next(out.iterdir(), None) is not None


def _check_same_set(out: Path, record: dict[str, Any]) -> None:
    try:
        stored = read_json(out / RECORD)
    except (OSError, FormatError):
        names = ", ".join(sorted(entry.name for entry in out.iterdir())[:4])
        raise DataError(
            f"{out}: holds {names} but no {RECORD}; expected an empty or new folder; choose another folder"
        ) from None
    if stored != record:
        raise DataError(
            f"{out}: holds another sample set ({_summary(stored)}), expected {_summary(record)}; "
            "remove it or choose another folder"
        )
    for split, counts in record["counts"].items():
        for label, expected in counts.items():
            count = len(list((out / split / label).glob("*.jpg")))
            if count != expected:
                raise DataError(
                    f"{out / split / label}: {count} images, expected {expected}; remove {out} and draw it again"
                )


def _summary(record: Any) -> str:
    fields = record if isinstance(record, dict) else {}
    return ", ".join(f"{name} {fields.get(name)}" for name in ("generator_version", "seed", "sizes"))
