"""Memory of `vegrt infer` over many images: N hard links to a few photos, sampled while it runs.

    python peers/soak.py PHOTOS --bundle BUNDLE [--soak 100000] [--variant int8-cpu] [--every 5]

Prints one JSON line: resident memory after 2,000 images (half of them if there are fewer than 4,000), and the maximum after that.
The samples go to stderr. The exit status is not 0 if the command was killed or failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

SETTLED = 2000
PER_FOLDER = 1000


def link(photos: list[Path], count: int, folder: Path) -> None:
    """Make `count` links to the photos, a thousand per folder; symbolic ones if hard links are impossible."""
    for number in range(count):
        photo, name = photos[number % len(photos)], folder / f"{number // PER_FOLDER:04d}" / f"{number:07d}.jpg"
        if number % PER_FOLDER == 0:
            name.parent.mkdir()
        try:
            os.link(photo, name)
        except OSError:
            name.symlink_to(photo.absolute())


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    sizes_kib = [line.split()[1] for line in lines if line.startswith("VmRSS")]
    return int(sizes_kib[0]) / 1024 if sizes_kib else 0.0


class Counter(threading.Thread):
    """Counts the lines that a process prints."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self.stream, self.lines = stream, 0

    def run(self) -> None:
        """Count until the stream ends."""
        for _ in self.stream:
            self.lines += 1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--soak", type=int, default=100_000)
    parser.add_argument("--variant", default="int8-cpu")
    parser.add_argument("--every", type=float, default=5.0, help="Seconds between samples.")
    arguments = parser.parse_args()
    samples: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        (links := Path(folder, "links")).mkdir()
        link(sorted(arguments.photos.rglob("*.jpg")), arguments.soak, links)
        options = [
            "--bundle",
            str(arguments.bundle),
            "--variant",
            arguments.variant,
            "--out",
            str(Path(folder, "out.csv")),
            "--print",
        ]
        start = time.perf_counter()
        command = [sys.executable, "-m", "vegrt.cli", "--quiet", "infer", str(links), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        counter = Counter(process.stdout)
        counter.start()
        while process.poll() is None:
            time.sleep(arguments.every)
            if memory := resident_mib(process.pid):
                samples.append((counter.lines, memory))
                sys.stderr.write(f"{counter.lines} images, {memory:.1f} MiB\n")
        seconds = time.perf_counter() - start
        counter.join()
        rows = len(Path(folder, "out.csv").read_bytes().splitlines()) - 1
    settled = min(SETTLED, arguments.soak // 2)
    after = [memory for count, memory in samples if count >= settled]
    line = {
        "name": f"{arguments.soak} links, {arguments.variant}",
        "images": rows,
        "seconds": round(seconds, 1),
        "rss_mib_at_first": round(after[0], 1) if after else None,
        "counted_from": settled,
        "rss_mib_highest_after": round(max(after), 1) if after else None,
        "samples": len(samples),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    if process.returncode or rows != arguments.soak:
        raise SystemExit(f"exit {process.returncode}, {rows} rows of {arguments.soak}")


if __name__ == "__main__":
    main()
