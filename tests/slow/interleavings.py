"""Interleavings of pairs of writers and readers (tests/interleaved_pairs.py): none is lost, and none fails but with one line.

python tests/slow/interleavings.py [--count N] [--seed SEED] [--pair NAME ...]

Each interleaving is decided by its seed; the seed of one that goes wrong is printed. Prints a table of counts.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests

from tests.interleaved_pairs import PAIRS, Pair, is_refusal, try_pair


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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pair", action="append", help="part of a pair's name")
    options = parser.parse_args()
    logging.disable()
    total: Counter[str] = Counter()
    sys.stdout.write("| pair | interleavings | different orders | refused | wrong |\n|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as work:
        for pair in PAIRS:
            if options.pair and not any(name in pair.name for name in options.pair):
                continue
            counts, orders = interleavings(pair, range(options.seed, options.seed + options.count), Path(work))
            tried = counts["right"] + counts["wrong"]
            sys.stdout.write(f"| {pair.name} | {tried} | {len(orders)} | {counts['refused']} | {counts['wrong']} |\n")
            sys.stdout.flush()
            total += counts
    sys.stdout.write(f"{total['right'] + total['wrong']} interleavings, {total['wrong']} wrong\n")
    raise SystemExit(bool(total["wrong"]))


if __name__ == "__main__":
    main()
