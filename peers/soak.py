"""Many images in bounded memory: `vegrt infer` over N hard links to a few photos, its memory sampled while it runs.

    python peers/soak.py PHOTOS --bundle BUNDLE [--soak 100000] [--variant int8-cpu] [--every 5]

One JSON line: resident memory once 2,000 images are answered (half of them, where there are fewer), and the highest after that.
The samples go to stderr. Killed or failed, the exit status is not 0.
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
    """Make `count` links to the photos, a thousand per folder; symbolic ones where hard ones cannot be."""
    for number in range(count):
        photo, name = photos[number % len(photos)], folder / f"{number // PER_FOLDER:04d}" / f"{number:07d}.jpg"
        if number % PER_FOLDER == 0:
            name.parent.mkdir()
        try:
            os.link(photo, name)
        except OSError:
            name.symlink_to(photo.absolute())


def resident_mib(pid: int) -> float:
    """Return the process's resident memory; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in lines if line.startswith("VmRSS")]
    return int(found[0]) / 1024 if found else 0.0


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
    parser.add_argument("--every", type=float, default=5.0, help="seconds between samples")
    given = parser.parse_args()
    samples: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        (links := Path(folder, "links")).mkdir()
        link(sorted(given.photos.rglob("*.jpg")), given.soak, links)
        options = [
            "--bundle",
            str(given.bundle),
            "--variant",
            given.variant,
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
            time.sleep(given.every)
            if memory := resident_mib(process.pid):
                samples.append((counter.lines, memory))
                sys.stderr.write(f"{counter.lines} images, {memory:.1f} MiB\n")
        seconds = time.perf_counter() - start
        counter.join()
        rows = len(Path(folder, "out.csv").read_bytes().splitlines()) - 1
    settled = min(SETTLED, given.soak // 2)
    after = [memory for count, memory in samples if count >= settled]
    line = {
        "name": f"{given.soak} links, {given.variant}",
        "images": rows,
        "seconds": round(seconds, 1),
        "rss_mib_at_first": round(after[0], 1) if after else None,
        "counted_from": settled,
        "rss_mib_highest_after": round(max(after), 1) if after else None,
        "samples": len(samples),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    if process.returncode or rows != given.soak:
        raise SystemExit(f"exit {process.returncode}, {rows} rows of {given.soak}")


if __name__ == "__main__":
    main()
