"""Files to CSV on this machine: vegrt and what somebody would write or pick instead, interleaved, as one Markdown table.

    python peers/end_to_end.py PHOTOS --bundle BUNDLE [--variant int8-cpu] [--rounds 5] [--limit N]

Every program first tries a few batch sizes on part of the photos and keeps its own best. Then all run once per round, in an order
that is drawn anew, each in a process of its own. Ratios are medians of the ratios within a round. A second table has the times
that include starting Python and loading the model.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OURS = "ours"
PROGRAMS: dict[str, list[str]] = {
    OURS: ["ours.py"],
    "ours, the whole command": ["ours.py", "--process"],
    "torch": ["torch_eager.py"],
    "plain": ["plain_onnxruntime.py"],
    "timm": ["timm_infer.py"],
    "ultralytics": ["ultralytics_predict.py"],
}
BATCHES = (1, 8, 16, 32, 64)
TRIED = 96  # photos, to find a batch size


def run(program: str, given: argparse.Namespace, batch: int, limit: int) -> dict[str, Any]:
    """Return the line that a program printed."""
    options = ["--bundle", str(given.bundle), "--variant", given.variant, "--batch", str(batch), "--limit", str(limit)]
    file, *flags = PROGRAMS[program]
    command = [sys.executable, str(HERE / file), str(given.photos), *flags, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no message"]
        return {"name": program, "skipped": f"exit {done.returncode}: {words[-1]}"}
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


def best_batch(program: str, given: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    """Return the batch size that is fastest on part of the photos, and that run's line; 0 where the program cannot run."""
    lines = {}
    for batch in given.batches:
        line = lines[batch] = run(program, given, batch, given.tried)
        if "skipped" in line:
            return 0, line
    batch = max(lines, key=lambda one: float(lines[one]["images_per_s"]))
    return batch, lines[batch]


def table(
    lines: dict[str, list[dict[str, Any]]], batches: dict[str, int], value: Callable[[dict[str, Any]], float]
) -> str:
    """Return Markdown: a row per program, the fastest first. value: seconds of a line."""
    medians = {one: statistics.median(map(value, found)) for one, found in lines.items()}
    rows = [
        "| program | batch | seconds (lowest to highest) | images/s | vegrt is faster by | top-1 % |",
        "|---|---|---|---|---|---|",
    ]
    for one in sorted(medians, key=lambda key: medians[key]):
        seconds = [value(line) for line in lines[one]]
        ratios = [value(line) / value(mine) for line, mine in zip(lines[one], lines[OURS], strict=True)]
        first, top1 = lines[one][0], lines[one][0]["top1"]
        cells = (
            first["name"],
            str(batches[one]),
            f"{medians[one]:.2f} ({min(seconds):.2f} to {max(seconds):.2f})",
            f"{first['images'] / medians[one]:.1f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            "" if top1 is None else f"{100 * top1:.2f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--variant", default="int8-cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=0, help="photos per run; 0: all")
    parser.add_argument("--tried", type=int, default=TRIED, help="photos per run while batch sizes are tried")
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")], default=list(BATCHES))
    parser.add_argument("--only", help="programs, with commas, of: " + ", ".join(PROGRAMS))
    given = parser.parse_args()
    wanted = [one for one in PROGRAMS if not given.only or one in (OURS, *given.only.split(","))]
    batches: dict[str, int] = {}
    for program in wanted:
        batches[program], line = best_batch(program, given)
        sys.stderr.write(f"{program}: {'batch ' + str(batches[program]) if batches[program] else line['skipped']}\n")
    running = [program for program in wanted if batches[program]]
    if OURS not in running:
        raise SystemExit("our own program does not run here; see above")
    lines: dict[str, list[dict[str, Any]]] = {program: [] for program in running}
    for number in range(given.rounds):
        for program in random.Random(number).sample(running, len(running)):
            lines[program].append(run(program, given, batches[program], given.limit))
        sys.stderr.write(f"round {number + 1} of {given.rounds}\n")
    sys.stdout.write(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, ")
    sys.stdout.write(
        f"{lines[OURS][0]['images']} photos, {given.rounds} interleaved rounds\n\nFrom the first file to the CSV:\n\n"
    )
    sys.stdout.write(table(lines, batches, lambda line: float(line["seconds"])) + "\n\n")
    sys.stdout.write("With imports and loading the model:\n\n")
    sys.stdout.write(table(lines, batches, lambda line: float(line["seconds"]) + float(line["load_s"])) + "\n")


if __name__ == "__main__":
    main()
