"""Interleavings of pairs of writers and readers: nothing is lost, and nothing fails but with one line that says why.

python tests/slow/interleavings.py [WORK] [--count N] [--seed SEED] [--pair NAME ...]

Each interleaving is decided by its seed; the seed of one that goes wrong is printed. Prints a table of counts. The pairs of
tests/interleaved_pairs.py are functions in threads. WORK: a folder for the subjects of tests/slow/failing_io.py; with it, pairs
of whole commands in forked processes follow, of which only a tenth of N is tried.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests

from tests.interleaved_pairs import PAIRS, Pair, is_refusal, try_pair
from tests.interleaving import Ended, processes
from tests.slow.failing_cases import CASES, Case
from tests.slow.failing_files import fault_of
from tests.slow.failing_io import OF_MNN, make_subjects, warm_up
from vegrt.bundle.bundle import open_bundle
from vegrt.errors import VegrtError

REFUSED = (
    "another process",
    "was changed while",
    "changed during",
    "exists; ",
    "holds ",
    "changed since",
    "changed while",
)
COMMANDS = (  # names of cases, both of which work on the same files
    ("export", "export"),
    ("export", "evaluate"),
    ("export", "sign"),
    ("export", "trust"),
    ("export", "infer the bundle"),
    ("calibrate", "calibrate"),
    ("calibrate", "evaluate"),
    ("evaluate", "evaluate"),
    ("sbom", "trust"),
    ("train", "train"),
    ("tune", "tune"),
    ("infer csv", "infer csv"),
    ("infer counters", "infer counters"),
    ("split", "split"),
)
INFER = Case(
    "infer the bundle", ("infer", "../base/few", "--bundle", "bundle", "--runtime", "onnxruntime", "--threads", "1")
)


def interleavings(pair: Pair, seeds: range, work: Path) -> tuple[Counter[str], set[tuple[str, ...]]]:
    """Return how the actors ended, by count, and the different orders of turns."""
    counts: Counter[str] = Counter()
    orders: set[tuple[str, ...]] = set()
    for seed in seeds:
        folder = work / str(seed)
        try:
            outcomes, steps = try_pair(pair, folder, seed)
        except AssertionError as error:
            sys.stderr.write(f"{pair.name}, seed {seed}: {error!r}\n")
            counts["wrong"] += 1
        else:
            counts["right"] += 1
            counts["refused"] += sum(map(is_refusal, outcomes.values()))
            orders.add(tuple(steps))
        shutil.rmtree(folder, ignore_errors=True)
    return counts, orders


def commands(names: tuple[str, str], seeds: range, work: Path) -> tuple[Counter[str], set[tuple[str, ...]]]:
    """Return how two commands ended, by count, and the different orders of turns."""
    cases = {f"{name} {number}": _case(name) for number, name in enumerate(names)}
    counts: Counter[str] = Counter()
    orders: set[tuple[str, ...]] = set()
    for seed in seeds:
        folder = work / f"pair-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        first, second = cases.values()
        first.prepare(work / "base", folder)
        for name in set(second.copied) - set(first.copied):
            shutil.copytree(work / "base" / name, folder / name)
        logs = work / "pair-logs"
        logs.mkdir(exist_ok=True)
        ends, steps = processes(seed, {name: _caller(case, folder) for name, case in cases.items()}, [folder], logs)
        if wrong := _wrong(folder, cases, ends):
            sys.stderr.write(f"{names}, seed {seed}: {wrong}\n")
        counts.update(["wrong" if wrong else "right"])
        counts["refused"] += sum(end.code == 1 for end in ends.values())
        orders.add(tuple(steps))
    return counts, orders


def _case(name: str) -> Case:
    return next(case for case in (*CASES, INFER) if case.name == name)


def _caller(case: Case, folder: Path) -> Callable[[], int]:
    def call() -> int:
        os.environ |= {"XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder / "home")}
        os.chdir(folder)
        return case.call(())

    return call


def _wrong(folder: Path, cases: dict[str, Case], ends: dict[str, Ended]) -> list[str]:
    wrong = []
    for name, end in ends.items():
        lines = [line for line in end.errors.splitlines() if not line.startswith(OF_MNN)]
        refused = end.code == 1 and lines and any(words in lines[-1] for words in REFUSED)
        if not refused and end.code not in cases[name].codes:
            wrong.append(f"{name}: exit {end.code}, {end.errors[-400:]}")
    if all(end.code == 1 for end in ends.values()):
        wrong.append("both were refused")
    for bundle in {bundle for case in cases.values() for bundle in case.bundles}:
        try:
            open_bundle(folder / bundle)
        except VegrtError as error:
            wrong.append(str(error))
    files = [file for file in folder.rglob("*") if file.is_file() and "cache" not in file.parts]
    wrong += [f"{file.name}: {fault}" for file in files if (fault := fault_of(file))]
    return wrong + [
        f"{file.relative_to(folder)}: left" for file in files if ".tmp" in file.name or ".staging" in str(file)
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pair", action="append", help="part of a pair's name")
    options = parser.parse_args()
    logging.disable()
    total: Counter[str] = Counter()
    if options.work is not None:
        warm_up()
        make_subjects(options.work.resolve() / "base")
    sys.stdout.write("| pair | interleavings | different orders | refused | wrong |\n|---|---|---|---|---|\n")

    def is_wanted(name: str) -> bool:
        return not options.pair or any(part in name for part in options.pair)

    def show(name: str, counts: Counter[str], orders: int) -> None:
        tried = counts["right"] + counts["wrong"]
        sys.stdout.write(f"| {name} | {tried} | {orders} | {counts['refused']} | {counts['wrong']} |\n")
        sys.stdout.flush()
        total.update(counts)

    with tempfile.TemporaryDirectory() as work:
        for pair in PAIRS:
            if is_wanted(pair.name):
                counts, orders = interleavings(pair, range(options.seed, options.seed + options.count), Path(work))
                show(pair.name, counts, len(orders))
    logging.disable(logging.NOTSET)
    for names in COMMANDS if options.work is not None else ():
        if is_wanted(f"vegrt {' + '.join(names)}"):
            seeds = range(options.seed, options.seed + max(1, options.count // 10))
            counts, orders = commands(names, seeds, options.work.resolve())
            show(f"vegrt {' + '.join(names)}", counts, len(orders))
    sys.stdout.write(f"{total['right'] + total['wrong']} interleavings, {total['wrong']} wrong\n")
    raise SystemExit(bool(total["wrong"]))


if __name__ == "__main__":
    main()
