"""Mutates every JSON, TOML, CSV and text file that vegrt reads and counts the commands that end in a traceback.

    python -m tests.slow.mutate_json WORK [--count 2500] [--seed 1] [--only REGEX] [--limit-s 60]

WORK: a folder, new or of an earlier run, for a small bundle with all results, which is made first. Each mutation runs in a fork.
Prints every traceback, death and time-out, and the counts by file and command; exit code 1 if there is any.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import logging
import os
import random
import re
import shutil
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path

from tests.slow.mutation_base import import_options, make_base
from tests.slow.mutations import mutated

# file -> command -> weight
PLAN: dict[str, dict[str, int]] = {
    "manifest.json": {
        "infer": 6,
        "verify": 4,
        "report": 3,
        "markdown": 3,
        "pack": 3,
        "triton": 2,
        "jetson": 2,
        "evaluate": 1,
        "bench": 1,
    },
    "results/evaluate-test.json": {"infer": 4, "report": 6, "markdown": 4, "verify": 1},
    "results/bench.json": {"infer": 3, "report": 4, "markdown": 3, "compare": 4},
    "results/robustness-test.json": {"report": 2, "markdown": 1},
    "results/sensitivity.json": {"report": 1},
    "results/curve.json": {"report": 1},
    "golden/golden.json": {"verify": 3, "bench": 1, "jetson": 1},
    "calibration.json": {"report": 1, "calibrate": 1},
    "float-layers.json": {"float-layers": 1},
    "signature.json": {"signature": 2, "pack": 1},
    "../audit/audit.json": {"audit-report": 2, "evaluate-audit": 1},
    "../recipe.toml": {"train": 3},
    "../contract.toml": {"import": 3},
    "../classes.txt": {"import": 2},
    "../data/photos.csv": {"data-audit": 2, "data-split": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--limit-s", type=int, default=60)
    arguments = parser.parse_args()
    base = arguments.work.resolve() / "base"
    if not (base / "done").is_file():
        make_base(base, in_process)
    plan = [(file, name, weight) for file, named in PLAN.items() for name, weight in named.items()]
    plan = [entry for entry in plan if re.search(arguments.only, f"{entry[0]}:{entry[1]}")]
    draws = random.Random(arguments.seed)
    counts, failed = Counter[tuple[str, str, str]](), 0
    warm_up()
    for number in range(arguments.count):
        (file, name, _), seed = draws.choices(plan, [weight for *_, weight in plan])[0], draws.randrange(1 << 30)
        outcome, output = run_job(base, arguments.work.resolve() / "job", file, name, seed, arguments.limit_s)
        counts[file, name, outcome] += 1
        if number % 100 == 99:
            sys.stderr.write(f"{number + 1} of {arguments.count}, {failed} failed\n")
        if outcome not in ("0", "1", "3", "4"):
            failed += 1
            sys.stdout.write(f"{number} {file} {name} seed {seed}: {outcome} {output}\n")
            sys.stdout.flush()
    for (file, name, outcome), count in sorted(counts.items()):
        sys.stdout.write(f"{count:6} {file} {name} {outcome}\n")
    sys.stdout.write(f"{failed} of {arguments.count} mutations did not end in one line or in success\n")
    raise SystemExit(failed > 0)


def run_job(base: Path, work: Path, file: str, name: str, seed: int, limit_s: int) -> tuple[str, str]:
    """Mutate `file` in a copy of the base and run a command on it in a fork; return the outcome and the output."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work, copy_function=os.link)  # whoever writes replaces the file
    target, draws = work / "bundle" / file, random.Random(seed)
    rewrite(target, mutated(target.read_bytes(), draws, is_json=file.endswith(".json")))
    if file not in ("manifest.json", "signature.json") and not file.startswith(("results/", "../")):
        restate_hashes(work / "bundle")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(limit_s)
        os.chdir(work)
        os.write(writing, json.dumps(in_process(arguments(work, name)))[-4000:].encode("utf-8", "replace"))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return ("time-out" if number == signal.SIGALRM else f"signal {number}"), ""
    try:
        code, output = json.loads(answer)
    except ValueError:
        code, output = "traceback", answer.decode("utf-8", "replace")
    return str(code), str(output)


def in_process(words: list[str]) -> tuple[str, str]:
    """Run the command line here; return its exit code, or `traceback`, and the end of its output."""
    from vegrt.cli import application

    for handler in list(logging.getLogger().handlers):
        logging.getLogger().removeHandler(handler)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1), os.dup2(silent, 2)
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # strict, as a pipe is
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            application((words[0],))(words)
    except SystemExit as error:
        output.flush()
        return str(error.code or 0), output.buffer.getvalue().decode()[-500:]
    except BaseException:
        return "traceback", traceback.format_exc()[-1500:]
    return "0", ""


def arguments(work: Path, name: str) -> list[str]:
    bundle, data = str(work / "bundle"), str(work / "data")
    photo, out = str(work / "data/test/Beet/000.png"), str(work / "out")
    commands = {
        "infer": ["infer", "--bundle", bundle, photo, "--json"],
        "verify": ["verify", bundle],
        "signature": ["verify", bundle, "--public-key", str(work / "key.pub")],
        "report": ["report", bundle, "-o", f"{out}/r.html"],
        "markdown": ["report", bundle, "-o", f"{out}/r.md", "--card", f"{out}/card.md", "--svg", out],
        "audit-report": ["report", bundle, "-o", f"{out}/r.md", "--audit", str(work / "audit/audit.json")],
        "pack": ["bundle", "pack", bundle, f"{out}.zip"],
        "triton": ["deploy", "triton", bundle, out],
        "jetson": ["deploy", "jetson", bundle, out],
        "compare": ["compare", bundle, str(work / "other")],
        "evaluate": ["evaluate", bundle, "--data", data],
        "evaluate-audit": ["evaluate", bundle, "--data", data, "--audit", str(work / "audit/audit.json")],
        "bench": ["bench", bundle, "--budget-s", "0.1", "--rounds", "2", "--no-memory"],
        "calibrate": ["calibrate", bundle, "--data", data, "--no-engine"],
        "float-layers": [
            "calibrate",
            bundle,
            "--data",
            data,
            "--no-engine",
            "--float-layers",
            f"{bundle}/float-layers.json",
        ],
        "train": ["train", "--data", str(work / "none"), "--out", out, "--recipe", str(work / "recipe.toml")],
        "import": ["export", out, *import_options(work)],
        "data-audit": ["data", "audit", f"{data}/photos.csv", "-o", out],
        "data-split": ["data", "split", f"{data}/photos.csv", "-o", f"{data}/split.csv"],
    }
    return commands[name]


def restate_hashes(bundle: Path) -> None:
    """Make the manifest's hashes those of the files, so that a mutation gets behind that check."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    for artifact in manifest["artifacts"]:
        content = (bundle / artifact["path"]).read_bytes()
        artifact |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    rewrite(bundle / "manifest.json", json.dumps(manifest).encode())


def rewrite(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)


def warm_up() -> None:
    """Import what the forks need, once."""
    import onnx
    import onnxruntime

    import vegrt.evaluate.benchmark.bench
    import vegrt.evaluate.evaluate
    import vegrt.evaluate.verify
    import vegrt.export.stage
    import vegrt.infer.predict
    import vegrt.report.figures
    import vegrt.report.write
    import vegrt.train.data.audit

    logging.getLogger(__name__).debug("%s", (onnx, onnxruntime, vegrt))


if __name__ == "__main__":
    main()
