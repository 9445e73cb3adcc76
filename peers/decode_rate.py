"""How fast photos are decoded and answered when the model costs nothing, and how much of that is Python.

    python peers/decode_rate.py PHOTOS [--repeat 10] [--batch 64] [--rounds 5] [--ways bare,threads:1,threads:2,processes:2]

The photos are taken `repeat` times from the folder. `bare` is Pillow alone, in one thread: open, RGB, resize if the size differs,
array. The other ways are the pipeline of `vegrt infer`, from the folder to a CSV, with a runner whose logits are made beforehand.
Every measurement is a process of its own, in an order that is drawn anew each round. One Markdown row per way, medians:

CPU: of all processes. decoder: the part of it within libjpeg, where Python's lock is released. Python: the rest, the time under
the lock at most. With worker processes, `decoder` and `Python` are the parent's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from vegrt.infer.decode.pipeline import stream
from vegrt.infer.outputs.files import OutputOptions, open_outputs
from vegrt.infer.outputs.rows import RowFormat, answer_rows
from vegrt.infer.runtimes.runner import Answers
from vegrt.infer.sources.open import SourceOptions, open_sources
from vegrt.photo.contract import Contract

CLASSES = [f"class {number}" for number in range(15)]
CONTRACT = Contract()


class TimedDecoder:
    """Pillow's JPEG decoder, which adds up the CPU time of its C function."""

    seconds = 0.0

    def __init__(self, mode: str, *args: Any) -> None:
        self._decoder = Image.core.jpeg_decoder(mode, *args)
        self.setimage, self.cleanup = self._decoder.setimage, self._decoder.cleanup
        self.pulls_fd = self._decoder.pulls_fd

    def decode(self, content: bytes) -> tuple[int, int]:
        """Decode, as Pillow's class does."""
        start = time.thread_time()
        answer: tuple[int, int] = self._decoder.decode(content)
        TimedDecoder.seconds += time.thread_time() - start
        return answer


def bare(photos: Path, repeat: int, *_: object) -> int:
    """Decode all photos with Pillow alone; return how many."""
    files = [path for path in sorted(photos.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    size = (CONTRACT.size, CONTRACT.size)
    for _ in range(repeat):
        for file in files:
            with Image.open(file) as image:
                rgb = image.convert("RGB") if image.mode != "RGB" else image
                np.asarray(rgb.resize(size, Image.Resampling.BILINEAR) if rgb.size != size else rgb)
    return repeat * len(files)


def pipeline(photos: Path, repeat: int, batch: int, way: str, workers: int) -> int:
    """Run all photos through the pipeline; return how many."""
    logits = np.random.default_rng(0).normal(size=(batch, len(CLASSES))).astype(np.float32)
    row_format, count = RowFormat(), 0
    with tempfile.TemporaryDirectory() as folder:
        outputs = open_outputs(OutputOptions(Path(folder) / "out.csv"), row_format, len(CLASSES), 0)
        outputs.begin({})
        items = open_sources([photos] * repeat, SourceOptions())
        with closing(stream(items, CONTRACT, batch, way=way, workers=workers)) as batches:
            for decoded in batches:
                rows = answer_rows(decoded, Answers(logits[: len(decoded.readable)]), CLASSES, row_format)
                outputs.append(rows)
                count += len(rows)
        outputs.finish()
    return count


def measure(way: str, given: argparse.Namespace) -> dict[str, float]:
    """Return what one way takes, per photo in milliseconds, and photos per second."""
    Image.DECODERS["jpeg"] = TimedDecoder
    name, _, workers = way.partition(":")
    run: Callable[..., int] = bare if name == "bare" else pipeline
    start, before = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(1) as pool:  # the C library gives threads memory of another kind than the main thread
        count = pool.submit(run, given.photos, given.repeat, given.batch, name, int(workers or 0)).result()
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - before
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    children_s = children.ru_utime + children.ru_stime
    ms = 1000 / count
    return {
        "photos": count,
        "per_s": count / seconds,
        "cpu_ms": (cpu_s + children_s) * ms,
        "decoder_ms": TimedDecoder.seconds * ms,
        "python_ms": (cpu_s - TimedDecoder.seconds) * ms,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", default="bare,threads:1,threads:2,processes:1,processes:2,processes:4,processes:8")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(measure(given.one, given)) + "\n")
        return
    ways = given.ways.split(",")
    lines: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for number in range(given.rounds):
        for way in random.Random(number).sample(ways, len(ways)):
            done = subprocess.run([sys.executable, *sys.argv, "--one", way], stdout=subprocess.PIPE, check=True)
            lines[way].append(json.loads(done.stdout))
        sys.stderr.write(f"round {number + 1} of {given.rounds}, load {os.getloadavg()[0]:.1f}\n")
    versions = f"Python {platform.python_version()}, Pillow {PIL.__version__}, numpy {np.__version__}"
    photos = f"{lines[ways[0]][0]['photos']} photos, batch {given.batch}, {given.rounds} rounds"
    sys.stdout.write(f"{versions}; {photos}; medians (lowest to highest)\n\n")
    sys.stdout.write("| way | photos/s | CPU ms | decoder ms | Python ms |\n|---|---|---|---|---|\n")
    for way, values in lines.items():
        columns = (("per_s", ".0f"), ("cpu_ms", ".3f"), ("decoder_ms", ".3f"), ("python_ms", ".3f"))
        cells = [spread([value[key] for value in values], form) for key, form in columns]
        sys.stdout.write(f"| {way.replace(':', ', ')} | {' | '.join(cells)} |\n")


def spread(values: list[float], form: str) -> str:
    """Return the median, and the lowest and the highest value."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
