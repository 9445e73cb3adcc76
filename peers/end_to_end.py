"""Compares vegrt with alternatives, from files to CSV, in interleaved rounds; prints Markdown tables.

    python peers/end_to_end.py PHOTOS --bundle BUNDLE [--variant int8-cpu] [--rounds 5] [--limit N]

Every program first tries several batch sizes on part of the photos and keeps the fastest. Then all programs run once per round,
in a new random order, each in a separate process. Ratios are medians of the ratios within a round. A second table has the times
including imports and loading the model.
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
TRIED = 96  # photos for the search of the batch size


def run(program: str, arguments: argparse.Namespace, batch: int, limit: int) -> dict[str, Any]:
    """Return the JSON line that a program printed."""
    options = [
        "--bundle",
        str(arguments.bundle),
        "--variant",
        arguments.variant,
        "--batch",
        str(batch),
        "--limit",
        str(limit),
    ]
    file, *flags = PROGRAMS[program]
    command = [sys.executable, str(HERE / file), str(arguments.photos), *flags, *options]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        messages = process.stderr.strip().splitlines() or ["no message"]
        return {"name": program, "skipped": f"exit {process.returncode}: {messages[-1]}"}
    line: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return line


def best_batch(program: str, arguments: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    """Return the fastest batch size on part of the photos, and the line of that run; 0 if the program cannot run."""
    lines = {}
    for batch in arguments.batches:
        line = lines[batch] = run(program, arguments, batch, arguments.tried)
        if "skipped" in line:
            return 0, line
    batch = max(lines, key=lambda size: float(lines[size]["images_per_s"]))
    return batch, lines[batch]


def table(
    lines: dict[str, list[dict[str, Any]]], batches: dict[str, int], value: Callable[[dict[str, Any]], float]
) -> str:
    """Return a Markdown table with a row per program, the fastest first. value: returns the seconds of a line."""
    medians = {program: statistics.median(map(value, runs)) for program, runs in lines.items()}
    rows = [
        "| program | batch | seconds (lowest to highest) | images/s | vegrt is faster by | top-1 % |",
        "|---|---|---|---|---|---|",
    ]
    for program in sorted(medians, key=lambda name: medians[name]):
        seconds = [value(line) for line in lines[program]]
        ratios = [value(line) / value(ours) for line, ours in zip(lines[program], lines[OURS], strict=True)]
        first, top1 = lines[program][0], lines[program][0]["top1"]
        cells = (
            first["name"],
            str(batches[program]),
            f"{medians[program]:.2f} ({min(seconds):.2f} to {max(seconds):.2f})",
            f"{first['images'] / medians[program]:.1f}",
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
    parser.add_argument("--limit", type=int, default=0, help="Photos per run; 0: all.")
    parser.add_argument("--tried", type=int, default=TRIED, help="Photos per run in the search of the batch size.")
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")], default=list(BATCHES))
    parser.add_argument("--only", help="Programs to run, separated by commas: " + ", ".join(PROGRAMS))
    arguments = parser.parse_args()
    selected = [name for name in PROGRAMS if not arguments.only or name in (OURS, *arguments.only.split(","))]
    batches: dict[str, int] = {}
    for program in selected:
        batches[program], line = best_batch(program, arguments)
        sys.stderr.write(f"{program}: {'batch ' + str(batches[program]) if batches[program] else line['skipped']}\n")
    running = [program for program in selected if batches[program]]
    if OURS not in running:
        raise SystemExit("vegrt itself cannot run; see the messages above")
    lines: dict[str, list[dict[str, Any]]] = {program: [] for program in running}
    for number in range(arguments.rounds):
        for program in random.Random(number).sample(running, len(running)):
            lines[program].append(run(program, arguments, batches[program], arguments.limit))
        sys.stderr.write(f"round {number + 1} of {arguments.rounds}\n")
    sys.stdout.write(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, ")
    sys.stdout.write(
        f"{lines[OURS][0]['images']} photos, {arguments.rounds} interleaved rounds\n\nFrom the first file to the CSV:\n\n"
    )
    sys.stdout.write(table(lines, batches, lambda line: float(line["seconds"])) + "\n\n")
    sys.stdout.write("With imports and loading the model:\n\n")
    sys.stdout.write(table(lines, batches, lambda line: float(line["seconds"]) + float(line["load_s"])) + "\n")


if __name__ == "__main__":
    main()
