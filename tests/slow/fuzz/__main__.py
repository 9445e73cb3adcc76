"""Fuzzes every reader of what others write: a result or a VegrtError of one line for each input, within 5 s and 1 GiB.

    python -m tests.slow.fuzz WORK [--inputs 1000000] [--only REGEX] [--seed 1]     # make fuzz
    python -m tests.slow.fuzz WORK --replay FILE --only TARGET                      # one input, here, with its traceback

WORK: a folder, new or of an earlier run, with counts, corpus and findings of each target; a run goes on where the last one ended.
--inputs: of all targets together, by their weights. An input that takes a new way through its reader (by the message that it
ends with) joins the corpus. Findings are tracebacks, hangs, crashes and memory; each is stored once. Mend them,
and copy the file, made small, to tests/corpus/TARGET: the tests read it from then on. Exit code 1 if there is any finding.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.slow.fuzz.base import make_base
from tests.slow.fuzz.commands import in_process
from tests.slow.fuzz.target import Target
from tests.slow.fuzz.targets import TARGETS
from tests.slow.fuzz.worker import BAD, Progress, Work, run_slice

CORPUS = Path(__file__).parents[2] / "corpus"
_ROUNDS = 10  # all targets take turns, so that a run that is stopped has tried each


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path)
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    if not (work / "base/done").is_file():
        make_base(work / "base", in_process)
    targets = [target for target in TARGETS if re.search(arguments.only, target.name)]
    if arguments.replay:
        (work / "replay").mkdir(exist_ok=True)
        for target in targets:
            target.seeds(work / "base")
            sys.stdout.write(f"{target.name}: {target.run(arguments.replay.read_bytes(), work / 'replay')}\n")
        return 0
    progress = read_progress(work / "progress.json", targets)
    weights = sum(target.weight for target in TARGETS)
    shares = {target.name: round(arguments.inputs * target.weight / weights) for target in targets}
    run(targets, shares, work, arguments.seed, progress)
    sys.stdout.writelines(table(progress))
    return 1 if any(counts.findings for counts in progress.values()) else 0


def run(
    targets: Sequence[Target], shares: Mapping[str, int], work: Path, seed: int, progress: dict[str, Progress]
) -> None:
    """Read the inputs of all targets, up to their shares; the counts are stored after each turn."""
    works = {target.name: Work(target, work, work / "base", CORPUS, seed) for target in targets}
    for turn in range(1, _ROUNDS + 1):
        for target in targets:
            counts, stop = progress[target.name], shares[target.name] * turn // _ROUNDS
            started, before = time.monotonic(), counts.done
            try:
                run_slice(works[target.name], counts, stop)
            finally:
                save_progress(work / "progress.json", progress)
            if counts.done > before:
                rate = (counts.done - before) / (time.monotonic() - started)
                sys.stderr.write(f"{target.name}: {counts.done:,} of {shares[target.name]:,}, {rate:,.0f}/s\n")


def read_progress(file: Path, targets: Sequence[Target]) -> dict[str, Progress]:
    """Return the counts of earlier runs, with nothing for targets that had none."""
    stored = json.loads(file.read_text()) if file.is_file() else {}
    names = [*stored, *(target.name for target in targets if target.name not in stored)]
    return {name: Progress(**stored.get(name, {})) for name in names}


def save_progress(file: Path, progress: Mapping[str, Progress]) -> None:
    """Replace the file with the counts."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps({name: asdict(counts) for name, counts in progress.items()}, indent=1))
    new.replace(file)


def table(progress: Mapping[str, Progress]) -> list[str]:
    """Return the lines of a Markdown table."""
    rows = [
        ("target", "inputs", "inputs/s", "accepted", "refused", *BAD),
        ("---", *("---:" for _ in range(4 + len(BAD)))),
    ]
    total = Progress()
    sums: Counter[str] = Counter()
    for name, counts in progress.items():
        kinds = Counter[str]()
        for finding, number in counts.findings.items():
            kinds[finding.partition("-")[0]] += number
        sums += kinds
        total = Progress(total.done + counts.done, total.accepted + counts.accepted, total.refused + counts.refused)
        total.seconds = sum(each.seconds for each in progress.values())
        rows.append(row(name, counts, kinds))
    return [f"| {' | '.join(cells)} |\n" for cells in (*rows, row("all", total, sums))]


def row(name: str, counts: Progress, kinds: Mapping[str, int]) -> tuple[str, ...]:
    """Return the cells of one target."""
    rate = f"{counts.done / counts.seconds:,.0f}" if counts.seconds else ""
    numbers = (counts.accepted, counts.refused, *(kinds.get(kind, 0) for kind in BAD))
    return (name, f"{counts.done:,}", rate, *(f"{number:,}" for number in numbers))


if __name__ == "__main__":
    sys.exit(main())
