"""The cost of decoding and writing: throughput from files to CSV, as a share of the same runner's throughput from memory.

    python peers/share.py PHOTOS --bundle BUNDLE [--variant V] [--batch 16] [--rounds 5] [--limit N]

One process and one runner; each round times both once, in alternating order, with the same photos. Prints one JSON line.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import numpy as np
from numpy.typing import NDArray
from ours import files_to_csv
from peer import Job, arguments_of, read_job

from vegrt.infer.runtimes.open import LoadedModel, open_runner
from vegrt.photo.preprocess import load_image


def from_memory(job: Job, opened: LoadedModel, images: NDArray[np.uint8]) -> None:
    """Run the decoded photos, batch by batch."""
    for start in range(0, len(images), job.batch):
        opened.runner.logits(images[start : start + job.batch])


def main() -> None:
    """Measure and print."""
    rounds = 5
    if "--rounds" in sys.argv:
        place = sys.argv.index("--rounds")
        rounds = int(sys.argv[place + 1])
        del sys.argv[place : place + 2]
    parser = arguments_of(__doc__)
    job = read_job(parser, parser.parse_args())
    opened = open_runner(job.bundle, job.variant or None, job.runtime or None)
    images = np.stack([load_image(path, opened.bundle.manifest.contract) for path in job.photos])
    ways = {
        "files": lambda: files_to_csv(opened, job.photos, job.batch, job.out),
        "memory": lambda: from_memory(job, opened, images),
    }
    ways["memory"]()  # warm
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in sorted(ways, reverse=bool(number % 2)):
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
    shares = [memory / files for memory, files in zip(seconds["memory"], seconds["files"], strict=True)]
    line = {
        "name": f"{opened.bundle.manifest.name}, {opened.candidate}",
        "images": len(job.photos),
        "batch": job.batch,
        "rounds": rounds,
        "files_images_per_s": round(len(job.photos) / statistics.median(seconds["files"]), 1),
        "memory_images_per_s": round(len(job.photos) / statistics.median(seconds["memory"]), 1),
        "share": round(statistics.median(shares), 4),
        "share_lowest": round(min(shares), 4),
        "share_highest": round(max(shares), 4),
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
