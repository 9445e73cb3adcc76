"""Compares vegrt with other programs, from image files to CSV, and with their engines alone; prints Markdown tables.

    python peers/end_to_end.py PHOTOS --bundle BUNDLE [--bundle BUNDLE2 ...] [--peers NAME,NAME] [--rounds 5] [--json OUT]

PHOTOS: a folder with a folder per class; 8-bit peers are calibrated on the folder validation beside it. Run `vegrt evaluate` and
`vegrt bench` on each bundle first, or vegrt has nothing to choose by.

Every program is a process that loads its model once. It first tries several batch sizes on part of the photos and keeps the
fastest; rows "from memory" run the engine alone, on photos that were decoded before. Then all rows run once per round, in a new
random order, while the other processes are stopped. Ratios are medians of the ratios within a round, with 95 % bootstrap
intervals. What a program needs once (conversion, quantization) is not timed, and is found again by the next run.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from peer import jpegs, read_answers

from vegrt.evaluate.benchmark.statistics import Ratio, ratio_of_times
from vegrt.machine import available_cores, examine_machine

HERE = Path(__file__).parent
OURS, REFERENCE = "vegrt", "vegrt-fp32-onnxruntime"
FILES, MEMORY = "files", "memory"
BATCHES = (1, 16)
TRIED = 32  # photos in each run of the search for the batch size
PACKAGES = ("onnxruntime", "openvino", "nncf", "MNN", "ncnn", "pnnx", "torch", "timm", "ultralytics", "Pillow", "numpy")


@dataclass(frozen=True)
class Program:
    """A program of this folder. same: the program with which vegrt runs the same engine with the same kind of model."""

    file: str
    words: tuple[str, ...] = ()
    modes: tuple[str, ...] = (FILES,)
    same: str = ""


def _vegrt(variant: str, runtime: str) -> Program:
    return Program("ours.py", ("--variant", variant, "--runtime", runtime))


BOTH = (FILES, MEMORY)
PROGRAMS = {
    OURS: Program("ours.py", modes=BOTH),
    "vegrt-command": Program("ours.py", ("--kind", "process")),
    REFERENCE: _vegrt("fp32", "onnxruntime"),
    "vegrt-int8-onnxruntime": _vegrt("int8-cpu", "onnxruntime"),
    "vegrt-fp32-openvino": _vegrt("fp32", "openvino"),
    "vegrt-int8-openvino": _vegrt("int8-cpu", "openvino"),
    "vegrt-bf16-openvino": _vegrt("bf16", "openvino"),
    "vegrt-fp32-mnn": _vegrt("fp32", "mnn"),
    "onnxruntime": Program("plain_onnxruntime.py", modes=BOTH, same=REFERENCE),
    "onnxruntime-int8": Program("plain_onnxruntime.py", ("--kind", "int8"), BOTH, "vegrt-int8-onnxruntime"),
    "openvino": Program("openvino_async.py", modes=BOTH, same="vegrt-fp32-openvino"),
    "openvino-default": Program("openvino_async.py", ("--kind", "default"), BOTH, "vegrt-bf16-openvino"),
    "openvino-int8": Program("openvino_async.py", ("--kind", "int8"), BOTH, "vegrt-int8-openvino"),
    "benchmark-app": Program("openvino_benchmark_app.py", modes=(MEMORY,), same="vegrt-fp32-openvino"),
    "benchmark-app-int8": Program("openvino_benchmark_app.py", ("--kind", "int8"), (MEMORY,), "vegrt-int8-openvino"),
    "mnn": Program("plain_mnn.py", modes=BOTH, same="vegrt-fp32-mnn"),
    "ncnn": Program("plain_ncnn.py", modes=BOTH),
    "torch": Program("torch_eager.py"),
    "timm": Program("timm_infer.py"),
    "ultralytics": Program("ultralytics_predict.py"),
}


class Process:
    """A program that has loaded its model, stopped except while it runs. skipped: why it cannot run; empty if it can."""

    def __init__(self, program: Program, words: Sequence[str]) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        command = [sys.executable, str(HERE / program.file), *words, *program.words, "--serve"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=self.errors)
        ready = self.answer()
        self.name, self.skipped = ready.get("name", program.file), ready.get("skipped", "")

    def run(self, **request: Any) -> dict[str, Any]:
        """Return the JSON line of one run; with `skipped` if it failed."""
        if self.skipped:
            return {"skipped": self.skipped}
        self.process.send_signal(signal.SIGCONT)
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.answer()
        self.skipped = line.get("skipped", "")
        return line

    def answer(self) -> dict[str, Any]:
        """Return what the process prints next, and stop it."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if text:
            self.process.send_signal(signal.SIGSTOP)
            return dict(json.loads(text))
        self.errors.seek(0)
        messages = self.errors.read().strip().splitlines() or ["no message"]
        return {"skipped": f"exit {self.process.wait()}: {messages[-1][:300]}"}

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


@dataclass
class Row:
    """A program in one mode. seconds: of the rounds. same_top1, compared: answers like vegrt's fp32 and how many there were."""

    key: str
    mode: str
    name: str
    skipped: str = ""
    batch: int = 0
    images: int = 0
    load_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    top1: float | None = None
    same_top1: int = 0
    compared: int = 0

    @property
    def rate(self) -> float:
        """Return images/s of the median round."""
        return self.images / statistics.median(self.seconds)

    def times(self, *, load: bool = False) -> np.ndarray:
        """Return seconds per round; load: with imports and loading the model."""
        return np.array(self.seconds) + (self.load_s if load else 0)


def measure(bundle: Path, arguments: argparse.Namespace) -> list[Row]:
    """Return the rows of a bundle, measured."""
    words = [str(arguments.photos), "--bundle", str(bundle)]
    if arguments.calibration:
        words += ["--calibration", str(arguments.calibration)]
    processes = {}
    try:
        for key in arguments.peers:
            sys.stderr.write(f"{bundle.name}: {key} ")
            processes[key] = Process(PROGRAMS[key], words)
            sys.stderr.write(f"{processes[key].skipped or 'is ready'}\n")
        rows = [
            Row(key, mode, process.name, process.skipped)
            for key, process in processes.items()
            for mode in PROGRAMS[key].modes
        ]
        running = [row for row in rows if not row.skipped]
        rates = {id(row): choose_batch(row, processes[row.key], arguments) for row in running}
        running = [row for row in running if not row.skipped]
        round_s = sum(1 / rates[id(row)] for row in running)  # for one photo
        photos = arguments.limit or max(TRIED, int(arguments.round_s / round_s))
        photos = min(photos, len(jpegs(arguments.photos)))
        for number in range(arguments.rounds):
            answers = {}
            for row in random.Random(number).sample(running, len(running)):
                line = processes[row.key].run(memory=row.mode == MEMORY, batch=row.batch, limit=photos)
                answers[id(row)] = record(row, line)
            compare(running, answers)
            running = [row for row in running if not row.skipped]
            sys.stderr.write(f"{bundle.name}: round {number + 1} of {arguments.rounds}, {photos} photos\n")
    finally:
        for process in processes.values():
            process.close()
    return rows


def choose_batch(row: Row, process: Process, arguments: argparse.Namespace) -> float:
    """Set the fastest batch size, on a few photos; return its images/s."""
    rates = {}
    for batch in arguments.batches:
        line = process.run(memory=row.mode == MEMORY, batch=batch, limit=arguments.tried)
        if "skipped" in line:
            row.skipped = line["skipped"]
            return 0.0
        rates[batch] = float(line["images_per_s"])
    row.batch = max(rates, key=lambda batch: rates[batch])
    shown = ", ".join(f"{batch}: {rate:.1f}" for batch, rate in rates.items())
    sys.stderr.write(f"  {row.key} from {row.mode}, images/s by batch size: {shown}\n")
    return rates[row.batch]


def record(row: Row, line: dict[str, Any]) -> dict[str, str]:
    """Add a run to its row; return its answers: path to label."""
    if "skipped" in line:
        row.skipped = line["skipped"]
        return {}
    row.seconds.append(line["seconds"])
    row.images, row.load_s, row.top1 = line["images"], line["load_s"], line["top1"]
    return read_answers(Path(line["out"]))


def compare(rows: Sequence[Row], answers: dict[int, dict[str, str]]) -> None:
    """Count the answers of each row that are those of vegrt's fp32, whose program must be among the rows."""
    reference = next((answers[id(row)] for row in rows if row.key == REFERENCE), {})
    for row in rows:
        if reference and answers[id(row)]:
            row.compared = len(reference)
            row.same_top1 = sum(answers[id(row)].get(path) == label for path, label in reference.items())


def ratio(rows: Sequence[Row], ours: tuple[str, str], other: tuple[str, str], *, load: bool = False) -> Ratio | None:
    """Return how many times as fast vegrt is as another row; each is a key and a mode. None if one did not run."""
    by_place = {(row.key, row.mode): row for row in rows if row.seconds and not row.skipped}
    if ours not in by_place or other not in by_place:
        return None
    base, new = by_place[ours].times(load=load), by_place[other].times(load=load)
    return ratio_of_times(base, new, paired=True)


def shown(value: Ratio | None) -> str:
    """Return a ratio with its interval."""
    return "" if value is None else f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def table(rows: Sequence[Row], *, load: bool = False) -> str:
    """Return a Markdown table with all rows, the fastest first, and those that did not run with the reason."""
    lines = [
        "| program | from | batch | images/s (lowest to highest) | vegrt is faster by (95 %) | top-1 % | like vegrt's fp32 |",
        "|---|---|---|---|---|---|---|",
    ]
    measured = [row for row in rows if row.seconds and not row.skipped]
    for row in sorted(measured, key=lambda row: statistics.median(row.times(load=load))):
        rates = sorted(row.images / row.times(load=load))
        cells = (
            row.name,
            row.mode,
            str(row.batch),
            f"{statistics.median(rates):.1f} ({rates[0]:.1f} to {rates[-1]:.1f})",
            shown(ratio(rows, (OURS, FILES), (row.key, row.mode), load=load)),
            "" if row.top1 is None else f"{100 * row.top1:.2f}",
            f"{row.same_top1} of {row.compared}" if row.compared else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"| {row.name} | {row.mode} | | not run: {row.skipped} | | | |" for row in rows if row.skipped]
    return "\n".join(lines)


def same_engine_table(rows: Sequence[Row]) -> str:
    """Return a Markdown table of vegrt, from files, with the engine and the kind of model of each peer."""
    lines = [
        "| peer | vegrt with the same engine | files against files (95 %) | files against the engine alone (95 %) |",
        "|---|---|---|---|",
    ]
    names = {row.key: row.name for row in rows if not row.skipped}
    for key, name in names.items():
        if (same := PROGRAMS[key].same) in names:
            both = (shown(ratio(rows, (same, FILES), (key, mode))) for mode in (FILES, MEMORY))
            lines.append(f"| {name} | {names[same]} | {' | '.join(both)} |")
    return "\n".join(lines)


def goals(rows: Sequence[Row]) -> dict[str, Ratio | None]:
    """Return how vegrt's own choice, from files, compares with the fastest engine alone and with plain ONNX Runtime."""
    alone = [row for row in rows if row.mode == MEMORY and row.seconds and not row.skipped and row.key != OURS]
    best = max(alone, key=lambda row: row.rate, default=None)
    ours = (OURS, FILES)
    return {
        f"the fastest engine from memory ({best.name if best else 'none'})": ratio(rows, ours, (best.key, MEMORY))
        if best
        else None,
        "plain ONNX Runtime fp32, from files": ratio(rows, ours, ("onnxruntime", FILES)),
    }


def described() -> dict[str, Any]:
    """Return the machine and the versions of the packages; empty: not installed."""
    machine = examine_machine()
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = ""
    return {
        "cpu": machine.cpu.model,
        "features": machine.cpu.features,
        "cores": available_cores(),
        "python": platform.python_version(),
        "packages": versions,
    }


def report_of(bundle: Path, rows: Sequence[Row], rounds: int) -> str:
    """Return the tables of a bundle."""
    images = max((row.images for row in rows), default=0)
    reached = "\n".join(f"- against {name}: {shown(value) or 'not measured'}" for name, value in goals(rows).items())
    return (
        f"## {bundle.name}: {images} photos, {rounds} interleaved rounds\n\nFrom the first file to the CSV, or from memory:\n\n"
        f"{table(rows)}\n\nvegrt with the same engine, more than 1: vegrt is faster:\n\n{same_engine_table(rows)}\n\n"
        f"vegrt's own choice, from files:\n\n{reached}\n\nWith imports and loading the model:\n\n{table(rows, load=True)}\n\n"
    )


def to_json(rows: Sequence[Row]) -> dict[str, Any]:
    """Return all that was measured of a bundle as JSON values."""
    ratios = {}
    for row in rows:
        for key in {OURS, PROGRAMS[row.key].same} - {""}:
            value = ratio(rows, (key, FILES), (row.key, row.mode))
            if value is not None:
                ratios[f"{key} against {row.key} from {row.mode}"] = asdict(value)
    reached = {name: asdict(value) for name, value in goals(rows).items() if value is not None}
    return {"rows": [asdict(row) for row in rows], "ratios": ratios, "goals": reached}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    parser.add_argument("photos", type=Path)
    parser.add_argument("--bundle", type=Path, action="append", required=True, help="Repeatable.")
    parser.add_argument("--peers", default=",".join(PROGRAMS), help="Comma-separated; default, all: %(default)s.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--round-s", type=float, default=30, help="Seconds of a round, which set the number of photos.")
    parser.add_argument("--limit", type=int, default=0, help="Photos per run, instead of --round-s.")
    parser.add_argument("--tried", type=int, default=TRIED, help="Photos per run in the search of the batch size.")
    parser.add_argument("--batches", type=numbers, default=list(BATCHES))
    parser.add_argument("--calibration", type=Path, help="Photos for 8-bit peers; default: validation, beside PHOTOS.")
    parser.add_argument("--json", type=Path, help="File for all measurements.")
    arguments = parser.parse_args()
    names = arguments.peers.split(",")
    if unknown := set(names) - set(PROGRAMS):
        parser.error(f"--peers: unknown {', '.join(sorted(unknown))}; expected some of {', '.join(PROGRAMS)}")
    arguments.peers = [key for key in PROGRAMS if key in {OURS, REFERENCE, *names}]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no stopped process is left behind
    whole: dict[str, Any] = described() | {"rounds": arguments.rounds, "bundles": {}}
    sys.stdout.write(f"{whole['cpu']}, {whole['cores']} cores, Python {whole['python']}; ")
    sys.stdout.write(", ".join(f"{name} {number or 'not installed'}" for name, number in whole["packages"].items()))
    sys.stdout.write("\n\n")
    for bundle in arguments.bundle:
        rows = measure(bundle, arguments)
        sys.stdout.write(report_of(bundle, rows, arguments.rounds))
        sys.stdout.flush()
        whole["bundles"][bundle.name] = to_json(rows)
        if arguments.json:
            arguments.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
