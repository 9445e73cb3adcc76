"""SIGKILL at random moments of `vegrt infer -o OUT`, repeated with --resume until it ends: no row is lost, doubled or refused.

python tests/slow/kill_infer.py BUNDLE PHOTOS [KILLS]        PHOTOS: a folder of JPEGs, small ones. Writes to stdout.

Every round has another kind of output, and ends when a run ends by itself. Two of three begin with a complete table of many
rows, so that the copy which resuming makes of it takes a while; the third begins with nothing. Half of the blows fall at a
random time, the others as soon as a file of a random name is seen.
"""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

KINDS = (("csv", ""), ("jsonl", ""), ("parquet", ""), ("csv", "npy"), ("jsonl", "parquet"))
SEEN = (".lock", ".run.json", ".run.json.new", ".part", ".part.new", ".part.new")
OLD = 60_000  # rows of the complete table
NEW = 120  # photos that are added to it
BLOWS = 8  # of a round, at most: then it may end


def command(bundle: Path, source: Path, out: Path, embeddings: str, resume: bool = True) -> list[str]:
    words = [*("infer", str(source), "--bundle", str(bundle), "--variant", "fp32", "--runtime", "onnxruntime")]
    words += [*("--batch", "2", "--threads", "1", "-o", str(out))]
    more = [*(["--embeddings", str(out.with_name(f"e.{embeddings}"))] if embeddings else []), *["--resume"] * resume]
    return [sys.executable, "-m", "vegrt.cli", "--quiet", *words, *more]


def names_in(out: Path) -> list[str]:
    if out.suffix == ".csv":
        with out.open(newline="", encoding="utf-8") as file:
            return [row["path"] for row in csv.DictReader(file)]
    if out.suffix == ".jsonl":
        return [json.loads(line)["path"] for line in out.read_text(encoding="utf-8").splitlines()]
    names: list[str] = pyarrow.parquet.read_table(out)["path"].to_pylist()
    return names


def multiply(out: Path) -> None:
    """Make OLD rows of the one that is there, each of another name."""
    if out.suffix == ".npy":
        np.save(out, np.repeat(np.load(out), OLD, axis=0))
    elif out.suffix == ".parquet":
        table = pyarrow.parquet.read_table(out).take(pyarrow.array([0] * OLD))
        names = pyarrow.array([f"old-{number}" for number in range(OLD)])
        pyarrow.parquet.write_table(table.set_column(0, "path", names), out)
    else:
        *head, line = out.read_text(encoding="utf-8").splitlines()
        (name,) = names_in(out)
        out.write_text("\n".join([*head, *(line.replace(name, f"old-{number}") for number in range(OLD)), ""]))


def blow(process: subprocess.Popen[bytes], out: Path, seconds: float) -> str:
    """Kill the process, unless it ends before; return when that was."""
    start = time.monotonic()
    wanted = None if random.random() < 0.5 else out.with_name(out.name + random.choice(SEEN))
    there = wanted is not None and wanted.exists()
    delay = random.uniform(0, seconds)
    while process.poll() is None:
        if wanted is None:
            if time.monotonic() - start >= delay:
                break
        elif wanted.exists() != there:  # it appears, or one that an earlier run left goes
            time.sleep(random.uniform(0, 0.02))
            break
        time.sleep(0.0002)
    if process.poll() is not None:
        return ""
    process.kill()
    process.wait()
    return "at random" if wanted is None else wanted.name.removeprefix(out.name)


def attack(
    bundle: Path, photos: Path, kind: tuple[str, str], folder: Path, *, remaining: int, old: int
) -> tuple[Counter[str], bool]:
    """Return how many blows fell when, and whether the table is right in the end. old: rows that are there before."""
    out = folder / f"x.{kind[0]}"
    single, many = folder / "one", folder / "many"
    many.mkdir()
    single.mkdir()
    files = sorted(photos.rglob("*.jpg"))
    for number in range(NEW):
        (many / f"{number:04d}.jpg").write_bytes(files[number % len(files)].read_bytes())
    (single / "0.jpg").write_bytes(files[0].read_bytes())
    others = [out.with_name(f"e.{kind[1]}")] if kind[1] else []
    if old:
        subprocess.run(command(bundle, single, out, kind[1]), check=True)
        for file in [out, *others]:
            multiply(file)
    start = time.monotonic()
    blows: Counter[str] = Counter()
    code, errors, seconds = -9, "", 4.0
    while code == -9:
        words = command(bundle, many, out, kind[1], resume=bool(old or blows))
        process = subprocess.Popen(words, stderr=subprocess.PIPE)
        when = blow(process, out, seconds) if blows.total() < min(BLOWS, remaining) else ""
        errors = process.communicate()[1].decode()
        code = process.returncode
        if when:
            blows[when] += 1
    want = [f"old-{number}" for number in range(old)] + [str(many / f"{number:04d}.jpg") for number in range(NEW)]
    names = names_in(out)
    rows = [len(np.load(file)) if file.suffix == ".npy" else len(names_in(file)) for file in others]
    files_left = {path.name for path in folder.iterdir()} - {"one", "many"}
    right = code == 0 and names == want and rows == [len(want)] * len(others)
    right &= files_left - {f"{out.name}.run.json"} == {out.name, *(file.name for file in others)}
    if not right:
        sys.stdout.write(f"exit {code}, {errors!r}, {len(names)} rows for {len(want)}, {rows}, {sorted(files_left)}\n")
    sys.stdout.write(
        f"{'+'.join(filter(None, kind))} of {old} rows: {dict(blows)} in {time.monotonic() - start:.0f} s, right: {right}\n"
    )
    sys.stdout.flush()
    return blows, right


def main(bundle: Path, photos: Path, kills: int) -> None:
    blows: Counter[str] = Counter()
    wrong = rounds = 0
    while blows.total() < kills:
        with tempfile.TemporaryDirectory() as folder:
            remaining, old = kills - blows.total(), OLD if rounds % 3 else 0
            kills_done, right = attack(
                bundle, photos, KINDS[rounds % len(KINDS)], Path(folder), remaining=remaining, old=old
            )
        blows += kills_done
        rounds += 1
        wrong += not right
    sys.stdout.write(f"{blows.total()} kills ({dict(blows)}) in {rounds} rounds, {wrong} of them with a wrong end\n")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 200)
